#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Reads the includes under ROOT/src and fails when a layer uses what ARCHITECTURE.md does not allow.
#
# usage: check_layers.sh ROOT      (reads ROOT/ARCHITECTURE.md)
#
# The rules are the first block of ARCHITECTURE.md that starts with ```layers. One rule a line:
#   layer: words         what the folder src/layer may include besides its own headers:
#                          other          every header of src/other; `other` must stand above, so
#                                         that arrows run one way
#                          other/Name     the same, but of the generated types of `other` (those
#                                         spelled Package__Type) only Name and what it contains
#                          <glob>         headers of a library; only layers that name the same
#                                         <glob> may include them
#   layer only: <glob>   the only headers of libraries and of the system that it may include
#   layer never: words   headers (glob with .h) and calls (glob with an opening bracket) that must
#                        not occur in it; comments and strings do not count
# A line without a colon goes on with the rule above; # starts a comment. Every folder of src must
# have a rule. Generated headers (*.pb-c.h) belong to the layer `proto`, others to the layer itself.
set -euo pipefail

root=${1:?usage: check_layers.sh ROOT}
document=$root/ARCHITECTURE.md
problems=0

problem() {
  printf '%s\n' "$*" >&2
  problems=$((problems + 1))
}

fatal() {
  printf 'error: %s\n' "$*" >&2
  exit 2
}

# The rules, by layer; each value is a list of words.
layers=()
declare -A uses=() only=() never=()

read_rules() {
  local text line head words layer='' kind=''
  text=$(awk '/^```layers/ { inside = 1; next } /^```/ && inside { exit } inside' "$document") ||
    fatal "cannot read $document."
  [[ -n $text ]] || fatal "$document has no block that starts with \`\`\`layers."
  while IFS= read -r line; do
    line=${line%%#*}
    if [[ $line == *:* ]]; then
      head=${line%%:*} words=${line#*:}
      read -r layer kind <<<"$head"
      case $kind in
        '')
          [[ ! -v uses[$layer] ]] || fatal "two rules for $layer in $document."
          layers+=("$layer")
          uses[$layer]=''
          ;;
        only | never) [[ -v uses[$layer] ]] || fatal "'$head' in $document comes before '$layer:'." ;;
        *) fatal "'$head' in $document is no rule: 'layer:', 'layer only:' or 'layer never:' is." ;;
      esac
    else
      words=$line
      [[ -n $layer || -z ${line// /} ]] || fatal "'$line' in $document belongs to no rule."
    fi
    # Several spaces, and words that look like globs, must survive as they are.
    case $kind in
      '') uses[$layer]+=" $words" ;;
      only) only[$layer]+=" $words" ;;
      never) never[$layer]+=" $words" ;;
    esac
  done <<<"$text"
}

# Arrows run one way: a layer uses only layers above it in the list.
check_rules() {
  local layer word words seen=' '
  for layer in "${layers[@]}"; do
    read -ra words <<<"${uses[$layer]}"
    for word in "${words[@]}"; do
      [[ $word == \<*\> || $seen == *" ${word%%/*} "* ]] ||
        problem "ARCHITECTURE.md: $layer uses ${word%%/*}, which is not a layer above it."
    done
    seen+="$layer "
  done
}

# facts FILE...: what the files say without their comments and strings, one fact a line:
# file|line|include|"header" or <header>, file|line|call|name, file|line|type|Package__Type.
# A call or a type stands once for each file.
facts() {
  awk '
    FNR == 1 { in_comment = 0 }
    {
      line = $0
      code = ""
      # Includes first: their quotes are no strings.
      if (!in_comment && match(line, /^[ \t]*#[ \t]*include[ \t]*(<[^>]*>|"[^"]*")/)) {
        header = substr(line, RSTART, RLENGTH)
        sub(/^[^<"]*/, "", header)
        print FILENAME "|" FNR "|include|" header
        line = substr(line, RSTART + RLENGTH)
      }
      while (line != "") {
        if (in_comment) {
          end = index(line, "*/")
          if (!end) break
          line = substr(line, end + 2)
          in_comment = 0
        } else if (match(line, /"|\047|\/\*|\/\//)) {
          mark = substr(line, RSTART, RLENGTH)
          code = code substr(line, 1, RSTART - 1) " "
          line = substr(line, RSTART + RLENGTH)
          if (mark == "//") break
          if (mark == "/*") in_comment = 1
          else if (mark == "\"" && match(line, /^([^"\\]|\\.)*"/)) line = substr(line, RLENGTH + 1)
          else if (mark != "\"" && match(line, /^([^\047\\]|\\.)*\047/)) line = substr(line, RLENGTH + 1)
        } else {
          code = code line
          break
        }
      }
      rest = code
      while (match(rest, /[A-Za-z_][A-Za-z0-9_]*[ \t]*\(?/)) {
        word = substr(rest, RSTART, RLENGTH)
        rest = substr(rest, RSTART + RLENGTH)
        name = word
        sub(/[ \t]*\(?$/, "", name)
        if (word ~ /\($/ && !called[FILENAME, name]++) print FILENAME "|" FNR "|call|" name
        if (name ~ /^[A-Z][A-Za-z0-9]*__[A-Z]/ && !used[FILENAME, name]++)
          print FILENAME "|" FNR "|type|" name
      }
    }' "$@"
}

# matches WORD LIST...: WORD fits one of the globs.
matches() {
  local word=$1 glob
  shift
  for glob in "$@"; do
    # shellcheck disable=SC2053 # a glob on purpose
    [[ $word == $glob ]] && return 0
  done
  return 1
}

# find_layer FILE HEADER: sets `target` to the layer that a header in quotes belongs to; fails when
# no layer has it.
declare -A layer_of_header=()
find_layer() {
  local file=$1 header=$2 path
  if [[ $header == *.pb-c.h ]]; then
    target=proto
    return
  fi
  target=${layer_of_header[$header]:-}
  [[ -z $target ]] || return 0
  if [[ -f $root/src/$header ]]; then
    path=$root/src/$header
  elif [[ -f $(dirname "$file")/$header ]]; then
    path=$(dirname "$file")/$header
  else
    return 1
  fi
  path=$(realpath "$path")
  [[ $path == "$source_root"/*/* ]] || return 1
  path=${path#"$source_root"/}
  target=${path%%/*}
  [[ $header != */* ]] || layer_of_header[$header]=$target
}

# check_layer LAYER FACTS
check_layer() {
  local layer=$1 file line kind value where header target word name
  local -a allowed=() libraries=() types=() constants=() only_globs=() never_words=() never_headers=() words=()
  read -ra words <<<"${uses[$layer]}"
  for word in "${words[@]}"; do
    case $word in
      \<*\>) libraries+=("${word:1:-1}") ;;
      */*)
        allowed+=("${word%%/*}")
        types+=("${word#*/}")
        constants+=("${word#*/}")
        ;;
      *) allowed+=("$word") ;;
    esac
  done
  # Constants of an enum are spelled PACKAGE__TYPE__NAME.
  constants=("${constants[@]^^}")
  read -ra words <<<"${only[$layer]:-}"
  for word in "${words[@]}"; do only_globs+=("${word:1:-1}"); done
  read -ra words <<<"${never[$layer]:-}"
  for word in "${words[@]}"; do
    if [[ $word == *'(' ]]; then
      never_words+=("${word%(}")
    else
      never_headers+=("$word")
    fi
  done

  while IFS='|' read -r file line kind value; do
    where=${file#"$root"/}:$line
    case $kind in
      include)
        header=${value:1:-1}
        if matches "$header" "${never_headers[@]}"; then
          problem "$where: $layer must never include $value."
        elif [[ $value == \"* ]]; then
          if ! find_layer "$file" "$header"; then
            # Without a folder it is made by the build, for its own layer.
            if [[ $header != */* ]] && ! matches "$header" "${owned[@]}"; then
              continue
            fi
            problem "$where: $value is in no layer under src."
          elif [[ $target != "$layer" ]] && ! matches "$target" "${allowed[@]}"; then
            problem "$where: $layer must not include $target ($value)."
          fi
        elif matches "$header" "${owned[@]}" && ! matches "$header" "${libraries[@]}"; then
          problem "$where: $layer must not include $value; ARCHITECTURE.md says which layer may."
        elif ((${#only_globs[@]} > 0)) && ! matches "$header" "${only_globs[@]}" "${libraries[@]}"; then
          problem "$where: $value is not among the only headers that $layer may include."
        fi
        ;;
      call)
        if matches "$value" "${never_words[@]}"; then
          problem "$where: $layer must never call $value()."
        fi
        ;;
      type)
        ((${#types[@]} > 0)) || continue
        name=${value#*__}
        if ! matches "$name" "${types[@]}" "${types[@]/%/__*}" "${constants[@]/%/__*}"; then
          problem "$where: of the generated types $layer may use only ${types[*]}, not $value."
        fi
        ;;
    esac
  done <<<"$2"
}

[[ -d $root/src ]] || fatal "there is no $root/src."
source_root=$(realpath "$root/src")
read_rules
check_rules

# Libraries that some layer owns.
owned=()
for layer in "${layers[@]}"; do
  read -ra words <<<"${uses[$layer]}"
  for word in "${words[@]}"; do
    [[ $word != \<*\> ]] || owned+=("${word:1:-1}")
  done
done

count=0
for folder in "$root"/src/*/; do
  layer=$(basename "$folder")
  mapfile -d '' -t files < <(find "$folder" -type f -name '*.[ch]' -print0 | sort -z)
  ((${#files[@]} > 0)) || continue
  if [[ ! -v uses[$layer] ]]; then
    problem "src/$layer: ARCHITECTURE.md has no rule for this layer."
    continue
  fi
  check_layer "$layer" "$(facts "${files[@]}")"
  count=$((count + ${#files[@]}))
done

if ((problems > 0)); then
  printf '%d problems: change the code, or the layers in ARCHITECTURE.md together with its text.\n' "$problems" >&2
  exit 1
fi
((count > 0)) || fatal "there is no C file under $root/src."
printf '%d files keep to the layers of ARCHITECTURE.md.\n' "$count"
