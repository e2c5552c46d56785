#!/bin/sh
# One run of the fetcher from cron's bare environment: no PATH, cwd anywhere, HOME odd or missing.
# Writes to a log file; speaks (so that cron sends mail) only when a person should look; passes the exit code on.
#
#   FETCHER_CONFIG      configuration file   (default: config.yaml beside the cron folder)
#   FETCHER_LOG         log file             (default: logs/cron.log beside the cron folder)
#   FETCHER_LOG_MAX     bytes after which the log moves to FETCHER_LOG.1 (default: 10000000)
#   FETCHER_MAIL_AFTER  seconds that runs have to fail before it is told (default: 3600), where the queue may mend it
#   FETCHER_PYTHON      the Python that has the packages (default: .venv/bin/python beside the cron folder)
# Relative paths start beside the cron folder.
set -u
PATH="${PATH:+$PATH:}/usr/local/bin:/usr/bin:/bin"
export PATH

say() { # not echo: dash's reads backslashes
    printf 'fetcher: %s\n' "$*" >&2
}

number() { # name, value, what it counts, default: the value where it is a number, else a sentence and the default
    case $2 in
        '' | *[!0-9]* | ???????????????????*) # 19 digits are more than every shell can compare
            say "$1 is $2, not a number of $3; $4 is used"
            printf %s "$4"
            ;;
        *) printf %s "$2" ;;
    esac
}

self=$(readlink -f -- "$0") || self=$0 # a link in /etc/cron.hourly leads here
root=$(cd -- "$(dirname -- "$self")/.." && pwd) || exit 2
cd -- "$root" || exit 2
python="${FETCHER_PYTHON:-$root/.venv/bin/python}"
config="${FETCHER_CONFIG:-$root/config.yaml}"
log="${FETCHER_LOG:-$root/logs/cron.log}"

if [ ! -x "$python" ]; then
    say "$python is missing; run 'make install' in $root"
    exit 2
fi
log_max=$(number FETCHER_LOG_MAX "${FETCHER_LOG_MAX:-10000000}" bytes 10000000)
mail_after=$(number FETCHER_MAIL_AFTER "${FETCHER_MAIL_AFTER:-3600}" seconds 3600)

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
command=
for word in "$@"; do
    case $word in
        --json) stamp= ;;
        -*) ;;
        *) command=$word ;;
    esac
done
if [ -n "$result" ]; then
    printf '%s\n' "$result" | sed "s/^/$stamp/" 2>/dev/null >&3 || say "cannot write to the log $log; is its disk full?"
fi

tell() {
    say "exit code $code${1:+ $1}${log:+; the end of $log:}"
    [ -z "$log" ] || tail -n 20 -- "$log" >&2
}

# A run comes every minute, and what one could not fetch the next one may: exit code 1 is told once it has lasted, what
# no queue mends (2, a crash) at once, both again each day, and the end of it. The file FETCHER_LOG.failing remembers.
if [ -n "$command" ] || [ ! -f "$log" ]; then
    case $code in
        0 | 75) ;; # done; another run was still at work
        *) tell ;;
    esac
    exit "$code"
fi
now=$(date +%s)
since='' told='' before=''
if [ -f "$log.failing" ]; then
    read -r since told before <"$log.failing"
    case $since,$told in
        *[!0-9,]* | ,* | *,) since='' ;;
        *) [ "$since" -le "$now" ] && [ "$told" -le "$now" ] || since='' ;; # the clock was set back
    esac
fi
[ -n "$since" ] || { since=$now told=0 before=; }
case $code in
    75) ;;
    0)
        [ ! -f "$log.failing" ] || rm -f -- "$log.failing"
        [ "$told" -eq 0 ] || say "well again: runs had failed for $(((now - since) / 60)) minutes"
        ;;
    *)
        [ "$code" = "$before" ] || told=0
        [ "$code" -eq 1 ] || mail_after=0
        if [ $((now - since)) -ge "$mail_after" ] && [ $((now - told)) -ge 86400 ]; then
            minutes=$(((now - since) / 60))
            if [ "$minutes" -gt 0 ]; then tell "for $minutes minutes now"; else tell; fi
            told=$now
        fi
        { printf '%s %s %s\n' "$since" "$told" "$code" >"$log.failing"; } 2>/dev/null || true
        ;;
esac
exit "$code"
