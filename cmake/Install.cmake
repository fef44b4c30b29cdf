# SPDX-License-Identifier: MIT
# cmake --install: jackdaw-server, jackdaw-admin and jackdaw, their man pages, the documents, the systemd unit. Include
# this after the targets `server`, `client` and `jackdaw-admin`. In the build folder the first two have
# short names.
include(GNUInstallDirs)

install(PROGRAMS $<TARGET_FILE:server> DESTINATION ${CMAKE_INSTALL_BINDIR} RENAME jackdaw-server)
install(PROGRAMS $<TARGET_FILE:client> DESTINATION ${CMAKE_INSTALL_BINDIR} RENAME jackdaw)
# jackdaw-server --status looks for it beside itself.
install(TARGETS jackdaw-admin DESTINATION ${CMAKE_INSTALL_BINDIR})

install(PROGRAMS ${PROJECT_SOURCE_DIR}/scripts/serve.sh
  DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/jackdaw RENAME serve)

# The unit names the programs by their full path, which is known only when --prefix is.
install(CODE "
  set(BINDIR \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}\")
  set(LIBEXECDIR \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBEXECDIR}\")
  configure_file(\"${PROJECT_SOURCE_DIR}/systemd/jackdaw-server@.service.in\"
    \"${PROJECT_BINARY_DIR}/systemd/jackdaw-server@.service\" @ONLY)")
install(FILES ${PROJECT_BINARY_DIR}/systemd/jackdaw-server@.service DESTINATION lib/systemd/system)
install(FILES ${PROJECT_SOURCE_DIR}/systemd/jackdaw.sysusers
  DESTINATION lib/sysusers.d RENAME jackdaw.conf)

foreach(page jackdaw-server.1 jackdaw-admin.1 jackdaw.1)
  configure_file(${PROJECT_SOURCE_DIR}/man/${page}.in ${PROJECT_BINARY_DIR}/man/${page} @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/man/${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
endforeach()

install(FILES
  ${PROJECT_SOURCE_DIR}/LICENSE
  ${PROJECT_SOURCE_DIR}/README.md
  ${PROJECT_SOURCE_DIR}/ARCHITECTURE.md
  ${PROJECT_SOURCE_DIR}/proto/spec.proto
  DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR}
  FILES_MATCHING PATTERN "*.md" PATTERN "*.svg")

# Linked into the programs, so their licences go with them.
if(NOT nng_FOUND)
  foreach(package libnng-dev libmbedtls-dev)
    install(FILES ${JACKDAW_NNG_ROOT}/usr/share/doc/${package}/copyright
      DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright.${package})
  endforeach()
endif()
