# What setup and bench take from a Debian-like distribution: packages, and sources of a newer suite.
# Sourced after env.sh, never executed.

if [ "$(id -u)" = 0 ]; then as_root=(); else as_root=(sudo); fi

apt_update_once() {
    [ -n "${apt_updated:-}" ] || "${as_root[@]}" apt-get update -qq
    apt_updated=1
}

# Installs those of the named Debian packages that are missing.
need_packages() {
    local package missing=()
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    say "installing ${missing[*]}"
    apt_update_once
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Sets apt_options so that apt-get sees nothing but the newer suite's entries of type $1 (deb or deb-src), without
# touching the machine's own apt configuration: the entry is the machine's own Debian entry with another suite.
newer_suite() {
    local type=$1 apt=$PGTRICKLE_CACHE/apt entry uri lists
    entry=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true)
    uri=$(printf '%s\n' "$entry" | awk '/^URIs:/ && $2 ~ /\/debian\/?$/ {print $2; exit}
        /^deb / {for (i = 2; i <= NF; i++) if ($i ~ /\/debian\/?$/) {print $i; exit}}')
    [ -n "$uri" ] || die "no Debian entry in /etc/apt to derive the source entry from"
    lists=$apt/lists-$type
    mkdir -p "$lists/partial" "$apt/archives/partial"
    printf 'Types: %s\nURIs: %s\nSuites: forky\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' "$type" "$uri" >"$apt/$type.sources"
    apt_options=(-o Dir::Etc::SourceList="$apt/$type.sources" -o Dir::Etc::SourceParts=/dev/null
        -o Dir::State::Lists="$lists" -o Dir::Cache="$apt" -o APT::Sandbox::User=root -qq)
    apt-get "${apt_options[@]}" update
}

# Unpacks the source package $1 of the newer suite into $2.
fetch_source() {
    newer_suite deb-src
    mkdir -p "$2"
    (cd "$2" && apt-get "${apt_options[@]}" source "$1")
}

# Unpacks the files of the binary package $1 of the newer suite below $2; nothing is installed.
fetch_binary() {
    newer_suite deb
    rm -rf "$2" && mkdir -p "$2/package"
    (cd "$2/package" && apt-get "${apt_options[@]}" download "$1") && dpkg-deb -x "$2"/package/*.deb "$2"
}
