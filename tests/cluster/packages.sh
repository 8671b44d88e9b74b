# Sourced by the scripts beside it: Debian packages, installed only where they are missing.
export DEBIAN_FRONTEND=noninteractive

need_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    # Nothing may start a daemon by itself while it unpacks: there may be no systemd, and the tests start their own.
    local policy=/usr/sbin/policy-rc.d made=0
    if [ ! -e $policy ]; then printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && made=1; fi
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/tmp/cluster-apt.log 2>&1 ||
        { tail -20 /tmp/cluster-apt.log >&2; return 1; }
    [ $made = 0 ] || rm -f $policy
}
