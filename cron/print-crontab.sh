#!/bin/sh
# Prints the lines of `crontab` with the folder of this checkout, written so that cron and the shell both understand it.
set -u
self=$(readlink -f -- "$0") || self=$0
root=$(cd -- "$(dirname -- "$self")/.." && pwd) || exit 2

case $root in
    *\\* | *'
'*)
        printf 'fetcher: %s\n' "crons differ in how they read a backslash or line break in a path; rename $root" >&2
        exit 2
        ;;
esac
# A backslash, not quotes: cron turns % into a line break and takes back only \%, which means % to every shell.
quoted=$(printf '%s\n' "$root" | sed 's|[^[:alnum:]_/.,:+@-]|\\&|g')

while IFS= read -r line; do
    case $line in
        '# /opt/fetcher '*) ;; # tells what is done here
        */opt/fetcher/*) printf '%s\n' "${line%%/opt/fetcher/*}$quoted/${line#*/opt/fetcher/}" ;;
        *) printf '%s\n' "$line" ;;
    esac
done <"$root/cron/crontab"
