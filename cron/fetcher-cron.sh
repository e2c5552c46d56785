#!/bin/sh
# One run of the fetcher from cron's bare environment: no PATH, cwd anywhere, HOME odd or missing.
# Writes to a log file; speaks (so that cron sends mail) only when a person should look; passes the exit code on.
#
#   FETCHER_CONFIG   configuration file   (default: config.yaml beside the cron folder)
#   FETCHER_LOG      log file             (default: logs/cron.log beside the cron folder)
#   FETCHER_LOG_MAX  bytes after which the log moves to FETCHER_LOG.1 (default: 10000000)
# Relative paths start beside the cron folder.
set -u
PATH="${PATH:+$PATH:}/usr/local/bin:/usr/bin:/bin"
export PATH

say() { # not echo: dash's reads backslashes
    printf 'fetcher: %s\n' "$*" >&2
}

self=$(readlink -f -- "$0") || self=$0 # a link in /etc/cron.hourly leads here
root=$(cd -- "$(dirname -- "$self")/.." && pwd) || exit 2
cd -- "$root" || exit 2
python="$root/.venv/bin/python"
config="${FETCHER_CONFIG:-$root/config.yaml}"
log="${FETCHER_LOG:-$root/logs/cron.log}"
log_max="${FETCHER_LOG_MAX:-10000000}"

if [ ! -x "$python" ]; then
    say "$python is missing; run 'make install' in $root"
    exit 2
fi
case $log_max in
    *[!0-9]* | ???????????????????*) # 19 digits are more than every shell can compare
        say "FETCHER_LOG_MAX is $log_max, not a number of bytes; 10000000 is used"
        log_max=10000000
        ;;
esac

# A log that cannot be written is no reason to miss candles: what it would hold is told here, for cron to mail.
# "true", not ":": where a redirection of a special builtin fails, dash ends without a word.
if { mkdir -p -- "$(dirname -- "$log")" && true >>"$log"; } 2>/dev/null; then
    if [ -f "$log" ] && [ "$(wc -c <"$log")" -gt "$log_max" ]; then
        mv -f -- "$log" "$log.1" 2>/dev/null || say "cannot move the full log to $log.1; make its folder writable"
    fi
    exec 3>>"$log"
else
    say "cannot write the log $log, so all is told here; make it writable or name another file in FETCHER_LOG"
    log=
    exec 3>&2
fi

# A daemon's or container's settings that would make each run slow or break on a candle's "…" in a bare locale.
unset PYTHONDONTWRITEBYTECODE PYTHONHOME PYTHONPATH
PYTHONUTF8=1
export PYTHONUTF8

# "$@" lets another crontab line run another command: fetcher-cron.sh audit
result=$("$python" -m fetcher --config "$config" "$@" 2>&3 3>&- </dev/null)
code=$?

# The program stamps its log; what it answers comes without a time, and a log needs one. JSON stays JSON.
stamp="$(date -u +%Y-%m-%dT%H:%M:%SZ) "
case " $* " in *" --json "*) stamp= ;; esac
if [ -n "$result" ]; then
    printf '%s\n' "$result" | sed "s/^/$stamp/" 2>/dev/null >&3 || say "cannot write to the log $log; is its disk full?"
fi

case $code in
    0 | 75) ;; # done; another run was still at work
    *)
        say "exit code $code${log:+; the end of $log:}"
        [ -z "$log" ] || tail -n 20 -- "$log" >&2
        ;;
esac
exit "$code"
