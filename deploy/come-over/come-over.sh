#!/bin/sh
# From another registry to TreeScale: docs/come-over.md. Needs skopeo, curl and jq.
#
#   FROM=old.example:5000 TO=registry.example sh come-over.sh VERB
#
#   list          what docker-registry has, into `repositories`: a line each, the old name and the new
#   list-harbor   the same of Harbor, and `people`, `administrators`, `members`, `robots`, `public`
#   namespaces    the first parts of the new names: each needs an account
#   copy          all tags, whole, with what refers to them; what is there already is left out
#   compare       says what differs; exit status 0 when nothing does
#
# Logins are in `auth.json` (`skopeo login --authfile auth.json`). LIBRARY=library is where names of
# one part go. FROM_PLAIN=yes or TO_PLAIN=yes: that one speaks plain HTTP, or nobody verifies it.
# Any of it can be broken off, and said again.
set -eu
export LC_ALL=C
: "${FROM:?the old registry, as HOST:PORT}" "${TO:?the name of TreeScale, as HOST:PORT}"
LIBRARY=${LIBRARY:-library}
AUTH=auth.json
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM # the login is in there

old_flags=--tls-verify=true new_flags=--tls-verify=true old_scheme=https
[ "${FROM_PLAIN:-no}" = no ] || { old_flags=--tls-verify=false old_scheme=http; }
[ "${TO_PLAIN:-no}" = no ] || new_flags=--tls-verify=false
[ -e "$AUTH" ] || echo '{"auths":{}}' > "$AUTH"

say() { printf '%s\n' "$*" >&2; }

for program in skopeo curl jq; do # else it would look as if nothing were there
    command -v "$program" > /dev/null || { say "$program is missing: install it"; exit 1; }
done
jq -r --arg host "$FROM" '.auths[$host].auth // empty | @base64d | @json | "user = " + .' \
    "$AUTH" > "$work/login"

# Ask the old registry for a path, and have the answer in a file; ends all unless it is 200, or
# the status that is said to be none.
ask() {
    status=$(curl --silent --show-error --retry 3 --config "$work/login" --output "$2" \
        --write-out '%{http_code}' "$old_scheme://$FROM$1") || exit 1
    case $status in
        200) return 0 ;;
        "${3:-200}") return 1 ;;
        *) say "$FROM$1 answers $status"; exit 1 ;;
    esac
}

# Print all entries of a list of Harbor's, one JSON object a line. One that has no pages, and says
# the same again, has ended.
ask_pages() {
    page=1
    : > "$work/before"
    while :; do
        case $1 in *\?*) mark='&' ;; *) mark='?' ;; esac
        ask "$1${mark}page=$page&page_size=100" "$work/page"
        ! cmp -s "$work/page" "$work/before" || return 0
        cp "$work/page" "$work/before"
        jq -c '.[]' "$work/page"
        [ "$(jq length "$work/page")" -eq 100 ] || return 0
        page=$((page + 1))
    done
}

# Give each old name a new one: here the first part is whose it is.
named() {
    while read -r name; do
        case $name in
            */*) echo "$name $name" ;;
            *) echo "$name $LIBRARY/$name" ;;
        esac
    done
}

list() {
    [ ! -e repositories ] || { say "repositories is there: edit it, or remove it"; exit 1; }
    last=
    : > "$work/names"
    while :; do
        ask "/v2/_catalog?n=500&last=$last" "$work/page"
        jq -r '.repositories[]?' "$work/page" > "$work/some"
        [ -s "$work/some" ] || break
        ! cmp -s "$work/some" "$work/before" ||
            { say "$FROM gives the same page of its list again and again: it cannot be read"; exit 1; }
        cp "$work/some" "$work/before"
        cat "$work/some" >> "$work/names"
        last=$(tail -n 1 "$work/some" | tr -d '\n' | jq -sRr '@uri')
    done
    sort -u "$work/names" | named > "$work/repositories"
    mv "$work/repositories" repositories
    say "repositories: $(wc -l < repositories) lines"
}

list_harbor() {
    [ ! -e repositories ] || { say "repositories is there: edit it, or remove it"; exit 1; }
    ask_pages /api/v2.0/users > "$work/users"
    ask_pages /api/v2.0/projects > "$work/projects"
    ask_pages /api/v2.0/robots > "$work/all-robots"
    : > "$work/members"
    jq -r '.project_id' "$work/projects" > "$work/ids"
    while read -r id; do
        project=$(jq -r --argjson id "$id" 'select(.project_id == $id).name' "$work/projects")
        ask_pages "/api/v2.0/projects/$id/members" > "$work/some"
        jq -r --arg project "$project" '[$project, .entity_type, .entity_name, .role_name] | @tsv' \
            "$work/some" >> "$work/members"
        ask_pages "/api/v2.0/robots?q=Level%3Dproject%2CProjectID%3D$id" >> "$work/all-robots"
    done < "$work/ids"
    jq -r '.username' "$work/users" | sort -u > people
    jq -r 'select(.sysadmin_flag == true).username' "$work/users" | sort -u > administrators
    mv "$work/members" members
    jq -r '.name as $name | .permissions[]? | select(.kind == "project") | .namespace as $project
        | [.access[]? | select(.resource == "repository") | .action]
        | map(select(. == "pull" or . == "push" or . == "delete")) | unique
        | select(length > 0) | [$name, $project, join(",")] | @tsv' "$work/all-robots" | sort -u > robots
    jq -r 'select(.metadata.public == "true").name' "$work/projects" | sort -u > public
    ask_pages /api/v2.0/repositories > "$work/some"
    jq -r '.name' "$work/some" | sort -u | named > "$work/repositories"
    mv "$work/repositories" repositories
    say "repositories: $(wc -l < repositories) lines; and people, administrators, members, robots, public"
}

# Yield `OLD NEW` of the file, without comments.
pairs() { sed -e 's/#.*//' -e '/^[[:space:]]*$/d' repositories; }

namespaces() { pairs | sed -e 's/^[^ ]* *//' -e 's,/.*,,' | sort -u; }

# Write a manifest into a file; fails when there is none, and ends all when nobody says so.
fetched() {
    if skopeo inspect --raw --retry-times 3 --authfile "$AUTH" "$1" "docker://$2" \
        > "$3" 2> "$work/error"; then
        return 0
    fi
    : > "$3"
    grep -qiE 'manifest unknown|name unknown|not found|repository name not known' "$work/error" ||
        { say "$2: $(tail -n 1 "$work/error")"; exit 1; }
    return 1
}

digest() { printf 'sha256:%s' "$(sha256sum < "$1" | cut -d' ' -f1)"; }

# Print the tags of a repository, none when it has none.
tags() {
    if skopeo list-tags --retry-times 3 --authfile "$AUTH" "$1" "docker://$2" \
        > "$work/tags.json" 2> "$work/error"; then
        jq -r '.Tags[]?' "$work/tags.json"
        return 0
    fi
    grep -qiE 'name unknown|not found|repository name not known' "$work/error" ||
        { say "$2: $(tail -n 1 "$work/error")"; exit 1; }
}

# Copy one manifest with all that it consists of, unless it is there.
brought() {
    fetched "$old_flags" "$1" "$work/old" || { say "$1: gone meanwhile"; return 0; }
    if fetched "$new_flags" "$2" "$work/new" && cmp -s "$work/old" "$work/new"; then
        return 0
    fi
    if skopeo copy --all --preserve-digests --retry-times 3 --authfile "$AUTH" --quiet \
        "--src-$(echo "$old_flags" | cut -c3-)" "--dest-$(echo "$new_flags" | cut -c3-)" \
        "docker://$1" "docker://$2" 2> "$work/error"; then
        say "copied $2"
    else
        say "FAILED $2: $(tail -n 1 "$work/error")"
        echo "$2" >> "$work/failed"
    fi
}

# Print the digests of what refers to a manifest, and of what refers to a part of it.
referrers() {
    { digest "$2"; echo; jq -r '.manifests[]?.digest' "$2"; } > "$work/subjects"
    while read -r subject; do
        ! ask "/v2/$1/referrers/$subject" "$work/page" 404 || jq -r '.manifests[]?.digest' "$work/page"
    done < "$work/subjects"
}

copy() {
    : > "$work/failed"
    pairs > "$work/pairs"
    while read -r old new; do
        tags "$old_flags" "$FROM/$old" > "$work/tags"
        while read -r tag; do
            brought "$FROM/$old:$tag" "$TO/$new:$tag"
            [ -s "$work/old" ] || continue
            referrers "$old" "$work/old" > "$work/queue"
            while [ -s "$work/queue" ]; do # each may have some of its own
                : > "$work/next"
                while read -r one; do
                    brought "$FROM/$old@$one" "$TO/$new@$one"
                    [ ! -s "$work/old" ] || referrers "$old" "$work/old" >> "$work/next"
                done < "$work/queue"
                mv "$work/next" "$work/queue"
            done
        done < "$work/tags"
    done < "$work/pairs"
    [ ! -s "$work/failed" ] || { say "$(wc -l < "$work/failed") failed: say it again"; exit 1; }
    say "all is copied: compare"
}

compare() {
    same=0 differ=0 nowhere=0
    pairs > "$work/pairs"
    while read -r old new; do
        tags "$old_flags" "$FROM/$old" > "$work/old-tags"
        tags "$new_flags" "$TO/$new" > "$work/new-tags"
        sort -o "$work/old-tags" "$work/old-tags"
        sort -o "$work/new-tags" "$work/new-tags"
        while read -r tag; do
            here=none there=none
            ! fetched "$old_flags" "$FROM/$old:$tag" "$work/old" || there=$(digest "$work/old")
            ! fetched "$new_flags" "$TO/$new:$tag" "$work/new" || here=$(digest "$work/new")
            if [ "$there" = none ]; then
                nowhere=$((nowhere + 1))
                printf 'leads nowhere in the old one\t%s:%s\n' "$old" "$tag"
            elif [ "$here" = "$there" ]; then
                same=$((same + 1))
            else
                differ=$((differ + 1))
                printf 'differs\t%s:%s\told %s\tnew %s\n' "$new" "$tag" "$there" "$here"
            fi
        done < "$work/old-tags"
        comm -13 "$work/old-tags" "$work/new-tags" | sed "s,^,only here	$new:,"
    done < "$work/pairs"
    say "$same tags are the same, $differ differ"
    [ "$nowhere" -eq 0 ] || say "$nowhere tags lead nowhere in the old one: see that it answers"
    [ "$differ" -eq 0 ]
}

case ${1:-} in
    list) list ;;
    list-harbor) list_harbor ;;
    namespaces) namespaces ;;
    copy) copy ;;
    compare) compare ;;
    *) sed -n '2,16s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
