# SPDX-License-Identifier: MIT
# Short names for what scripts/ and CMakePresets.json do.
.DEFAULT_GOAL := build
.PHONY: build build-client run test format format-check install deploy deploy-logs undeploy clean help

PREFIX ?= /usr/local
COMPOSE = docker compose -f docker/compose.yaml $(if $(wildcard .env),--env-file .env)

build: ## build build/server and build/client (the default)
	@scripts/setup.sh
	@scripts/build.sh release

build-client: ## build build/client alone, for a machine that runs no server
	@scripts/setup.sh
	@scripts/build.sh release client

run: ## start three servers on loopback and chat; without a terminal, play a short conversation
	@scripts/run.sh $(if $(filter command,$(origin PORT)),$(PORT))

test: ## build with tests in build-dev and run them all
	@scripts/test.sh

format: ## format the C code
	@scripts/format.sh

format-check: ## tell which files are not formatted
	@scripts/format.sh --check

install: build ## install under PREFIX (/usr/local), or DESTDIR
	@cmake --install build --prefix "$(PREFIX)"

deploy: ## build the image and start three servers in Docker (docker/compose.yaml, .env)
	@$(COMPOSE) up --detach --build --wait

deploy-logs: ## follow what the servers in Docker log
	@$(COMPOSE) logs --follow --tail 100

undeploy: ## stop the servers in Docker; their data stays in its volumes
	@$(COMPOSE) --profile client down

clean: ## remove what was built; data/ and third_party/ stay
	@rm -rf build build-*
	@echo "Removed build and build-*."

help: ## this list
	@echo "make TARGET, where TARGET is"
	@sed -n 's/^\([a-z-]*\):.* ## \(.*\)/  \1: \2/p' $(MAKEFILE_LIST) | \
		awk -F': ' '{ printf "%-16s %s\n", $$1, $$2 }'
	@echo "make run uses the ports in .env, or 2625 to 2630; make run PORT=4000 those from 4000 to 4005,"
	@echo "with data of its own."
