#!/bin/sh
# One run of the fetcher from cron's bare environment: no PATH, cwd anywhere, HOME odd or missing.
# Writes to a log file; speaks (so that cron sends mail) only when a person should look; passes the exit code on.
#
#   FETCHER_CONFIG   configuration file   (default: config.yaml beside the cron folder)
#   FETCHER_LOG      log file             (default: logs/cron.log beside the cron folder)
#   FETCHER_LOG_MAX  bytes after which the log moves to FETCHER_LOG.1 (default: 10000000)
set -u
PATH="${PATH:+$PATH:}/usr/local/bin:/usr/bin:/bin"
export PATH

self=$(readlink -f -- "$0") || self=$0 # a link in /etc/cron.hourly leads here
root=$(cd -- "$(dirname -- "$self")/.." && pwd) || exit 2
python="$root/.venv/bin/python"
config="${FETCHER_CONFIG:-$root/config.yaml}"
log="${FETCHER_LOG:-$root/logs/cron.log}"

if [ ! -x "$python" ]; then
    echo "fetcher: $python is missing; run 'make install' in $root" >&2
    exit 2
fi
if ! { mkdir -p -- "$(dirname -- "$log")" && : >>"$log"; } 2>/dev/null; then
    echo "fetcher: cannot write the log $log; fix its permissions or name another in FETCHER_LOG" >&2
    exit 2
fi
if [ "$(wc -c <"$log")" -gt "${FETCHER_LOG_MAX:-10000000}" ]; then
    mv -f -- "$log" "$log.1"
fi

# A daemon's or container's settings that would make each run slow or break on a candle's "…" in a bare locale.
unset PYTHONDONTWRITEBYTECODE PYTHONHOME PYTHONPATH
PYTHONUTF8=1
export PYTHONUTF8

cd -- "$root" || exit 2
# "$@" lets another crontab line run another command: fetcher-cron.sh audit
"$python" -m fetcher --config "$config" "$@" >>"$log" 2>&1 </dev/null
code=$?

case $code in
    0 | 75) ;; # done; another run was still at work
    *)
        echo "fetcher: exit code $code; the end of $log:" >&2
        tail -n 20 -- "$log" >&2
        ;;
esac
exit "$code"
