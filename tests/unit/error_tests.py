"""Which test provokes each error of docs/errors.md, by the row's id; in brackets words of the case that is meant."""

from __future__ import annotations

_ARGUMENTS = "integration/test_cli_errors.py::test_a_mistake_gets_one_sentence"
_CONFIGURED = "integration/test_cli_errors.py::test_a_bad_configuration_gets_one_sentence"
_STAGED = "unit/test_staged_errors.py"
_WORDS = "unit/test_cli_words.py"
_MARKET = "unit/test_config.py::test_a_markets_mistakes_are_named_by_key"
_SOURCE = "unit/test_config.py::test_a_sources_mistakes_are_named_by_key"
_FILE = "unit/test_config.py::test_a_files_mistakes_are_one_sentence"
_METRICS = "unit/test_config.py::test_mistakes_about_metrics_and_goals_are_named_by_key"
_CONFIG = "unit/test_config.py"
_UNSERVED = "integration/test_cli_unserved.py"
_KEYS = "contract/test_client_coingecko.py::test_without_its_key_nobody_is_asked"
_ENGINE = "unit/test_db_engine.py"
_URL = f"{_ENGINE}::test_a_bad_url_is_told_without_its_password"
_MANAGER = "unit/test_db_manager.py"
_SERVER = "contract/test_postgresql_errors.py"
_SORTED = f"{_SERVER}::test_what_cannot_be_staged_here"
_DUMPS = "integration/test_cli_postgresql.py"
_COPY = "integration/test_db_copy.py"
_CCXT = "contract/test_client_ccxt.py"
_NEVER_ASKED = "test_what_it_cannot_serve_is_never_asked"
_COINS = "unit/test_coingecko_coins.py"
_ADVICE = "unit/test_binance_classify.py::test_what_the_user_can_change_is_said"
_RELEASE = "integration/test_release.py"
_NO_CANDLE = f"{_RELEASE}::test_what_can_be_no_candle_is_refused"

TESTS: dict[str, tuple[str, ...]] = {
    "locked": ("integration/test_cli_running.py::test_a_second_run_leaves_the_work_to_the_first",),
    "interrupted": (f"{_WORDS}::test_machines_are_told_of_errors_too[interrupted]",),
    "unexpected": (f"{_WORDS}::test_an_unexpected_error_says_how_to_learn_more",),
    "answer-unwritten": ("integration/test_cli_reading.py::test_an_answer_that_cannot_be_written_is_one_sentence",),
    "usage": (f"{_ARGUMENTS}[unknown command]", f"{_ARGUMENTS}[unknown option]", f"{_ARGUMENTS}[missing argument]"),
    "daemon-command": ("integration/test_daemon.py::test_it_goes_without_a_command",),
    "no-such-series": (f"{_ARGUMENTS}[symbol not configured]", f"{_ARGUMENTS}[timeframe not configured]"),
    "no-timeframe": (f"{_ARGUMENTS}[timeframe that is none]",),
    "no-date": (f"{_ARGUMENTS}[bad date]",),
    "empty-range": (f"{_ARGUMENTS}[empty range]",),
    "future-range": (f"{_ARGUMENTS}[start to come]",),
    "future-start": ("integration/test_cli_errors.py::test_a_start_to_come_is_told",),
    "no-such-id": (f"{_ARGUMENTS}[unknown job]", f"{_ARGUMENTS}[unknown quarantined row]"),
    "no-such-reason": (f"{_ARGUMENTS}[unknown reason]",),
    "no-such-source": (f"{_ARGUMENTS}[unknown source]",),
    "bad-role": (f"{_DUMPS}::test_a_name_that_no_role_can_have",),
    "bad-clock": ("integration/test_cli_errors.py::test_a_bad_clock_gets_one_sentence",),
    "no-config": (f"{_ARGUMENTS}[no configuration]",),
    "config-unreadable": (f"{_CONFIG}::test_a_file_that_cannot_be_read_is_told",),
    "not-yaml": (f"{_FILE}[not valid YAML in line 2]",),
    "no-configuration": (f"{_FILE}[holds no configuration; it needs at least]",),
    "unknown-key": (f"{_FILE}[loging: unknown key]",),
    "required-key": (f"{_FILE}[markets: is required]",),
    "wrong-kind": (f"{_MARKET}[must be a list, like [a, b]]", f"{_SOURCE}[must be at least 20]"),
    "no-entries": (f"{_MARKET}[markets[0].symbols: needs at least one entry]",),
    "same-entry": (f"{_SOURCE}[the same entry stands there twice]",),
    "start-no-date": (f"{_MARKET}['yesterday' is not a date]",),
    "start-far": (f"{_MARKET}[lies too far ahead]",),
    "no-duration": (f"{_SOURCE}['soon' is not a duration; write it like 50s, 10m or 2h]",),
    "no-symbol": (f"{_MARKET}['BTCUSDT' is not a symbol; write base and quote like]",),
    "config-timeframe": (f"{_MARKET}[unknown timeframe '7m'; one of 1m 3m]",),
    "no-market-name": (f"{_SOURCE}['' is not a source's name of a market]",),
    "series-twice": (f"{_MARKET}[BTC/USDT 1m is configured twice]",),
    "source-twice": (f"{_MARKET}[a source is named twice]",),
    "unknown-source": (f"{_MARKET}[no source is called 'kraken'; known: binance]",),
    "url-secret": (f"{_CONFIGURED}[a base URL holds no user, password or query]",),
    "no-base-url": (f"{_SOURCE}['api.binance.com' is not a base URL]",),
    "no-proxy": (f"{_SOURCE}[is not a proxy; write it like http://127.0.0.1:3128]",),
    "proxy-host": (f"{_SOURCE}[is not a proxy: it needs a host, and a port]",),
    "proxy-text": (f"{_SOURCE}[must be text like http://127.0.0.1:3128, or direct for none]",),
    "no-socks": (f"{_CONFIG}::test_socks_needs_its_package",),
    "no-variable": (f"{_CONFIG}::test_a_key_itself_is_not_repeated",),
    "plan-key": (f"{_CONFIG}::test_plan_and_key_have_to_fit[plan demo needs a key]",),
    "key-plan": (f"{_CONFIG}::test_plan_and_key_have_to_fit[api_key_env needs plan: demo]",),
    "no-listen": (f"{_METRICS}[9464 is no address to listen on]",),
    "no-prom-file": (f"{_METRICS}['a.txt' is not a file for node_exporter]",),
    "listen-taken": ("integration/test_daemon_metrics.py::test_a_daemon_that_cannot_listen_does_not_begin",),
    "no-exchange": ("integration/test_cli_errors.py::test_config_check_knows_exchanges",),
    "no-spot": (f"{_UNSERVED}::test_a_source_is_named_once[ccxt has no spot candles of blofin]",),
    "no-ccxt": (f"{_STAGED}::test_without_ccxt_it_is_said_what_to_install",),
    "no-key": (f"{_KEYS}[NO_SUCH_KEY holds no key]", f"{_UNSERVED}::test_a_run_goes_on_without_one_sources_key"),
    "odd-key": (f"{_KEYS}[characters that no key has]",),
    "same-key": (f"{_KEYS}[SAME_KEY holds the key of another one]",),
    "no-database-url": (f"{_CONFIGURED}[database_url is not a database URL]",),
    "environment-url": (f"{_CONFIG}::test_the_environments_url_is_named_as_such",),
    "other-database": (f"{_URL}[cannot be used: it must be sqlite or postgresql]",),
    "no-port": (f"{_URL}[there is no port 99999]",),
    "other-driver": (f"{_SERVER}::test_passwords_in_options_are_not_shown",),
    "no-driver": (f"{_URL}[its driver is not installed]",),
    "sqlite-driver": (f"{_URL}[write it like sqlite:///market.db]",),
    "no-file": (f"{_URL}[names no file]",),
    "file-options": (f"{_CONFIGURED}[has options (mode), which are not supported]",),
    "is-folder": (f"{_ENGINE}::test_a_folder_is_not_a_database",),
    "folder-taken": ("integration/test_cli_errors.py::test_a_folder_that_cannot_be_made_is_told",),
    "folder-denied": (f"{_STAGED}::test_a_folder_that_nobody_can_make",),
    "no-sqlite": ("integration/test_cli_errors.py::test_a_file_that_is_no_database_is_refused",),
    "cannot-open": (f"{_STAGED}::test_a_file_that_cannot_be_opened",),
    "read-only-file": (f"{_ENGINE}::test_a_read_only_file_is_named",),
    "disk-full": ("integration/test_disk_full.py::test_a_full_disk_loses_nothing",),
    "kept-locked": (
        f"{_ENGINE}::test_a_writer_takes_the_lock_at_once",
        f"{_SERVER}::test_a_lock_that_is_never_given_back",
    ),
    "damaged-file": (f"{_STAGED}::test_a_damaged_file_is_told_by_whoever_reads_it",),
    "disk-error": (f"{_STAGED}::test_a_disk_that_takes_no_more",),
    "newer": ("integration/test_cli_errors.py::test_a_database_that_is_newer_is_refused",),
    "no-revision": (f"{_MANAGER}::test_a_newer_database_is_refused",),
    "not-ours": (
        f"{_MANAGER}::test_somebody_elses_database_is_left_alone",
        f"{_SERVER}::test_another_programs_database_is_left_alone",
    ),
    "not-upgraded": (f"{_MANAGER}::test_an_upgrade_that_fails_changes_nothing[cannot be upgraded]",),
    "not-yet": ("integration/test_cli_errors.py::test_db_check_makes_no_database",),
    "absurd-number": ("integration/test_cli_reading.py::test_audit_tells_a_number_that_no_candle_can_have",),
    "no-roles": (f"{_DUMPS}::test_sqlite_has_no_roles",),
    "unreachable": (
        f"{_SERVER}::test_a_server_that_is_not_there",
        "contract/test_postgresql_cuts.py::test_a_server_that_stays_away_is_told_in_one_sentence",
    ),
    "broken": ("contract/test_postgresql_cuts.py::test_what_was_cut_in_the_middle_is_told_and_not_kept",),
    "starting": (f"{_SORTED}[takes no connections just now]",),
    "no-connection-left": (f"{_SERVER}::test_a_server_that_is_full",),
    "password": (f"{_SERVER}::test_a_wrong_password",),
    "no-database": (f"{_SERVER}::test_an_unknown_user_and_an_unknown_database",),
    "denied": (f"{_SERVER}::test_the_right_password_opens_and_what_is_not_granted_is_refused",),
    "standby": (f"{_SERVER}::test_a_database_that_cannot_be_written",),
    "url-option": (f"{_SORTED}[an option in its URL]",),
    "encoding": (f"{_SERVER}::test_a_database_of_another_encoding", f"{_SORTED}[not encoded in UTF8]"),
    "old-server": (f"{_STAGED}::test_a_server_that_is_too_old",),
    "no-schema": (f"{_SERVER}::test_a_schema_where_nothing_may_be_made",),
    "no-hba": (f"{_SORTED}[pg_hba.conf]",),
    "conflict": (f"{_SORTED}[asked to try again]",),
    "server-disk": (f"{_SORTED}[the server's disk is full]",),
    "server-memory": (f"{_SORTED}[no memory left]",),
    "statement-ended": (f"{_SERVER}::test_a_statement_that_the_server_ends",),
    "server-damaged": (f"{_SORTED}[is damaged (invalid page]",),
    "commit-unknown": ("contract/test_postgresql_cuts.py::test_a_commit_that_can_not_be_looked_up_is_told",),
    "server-other": (f"{_SORTED}[cannot be used: temp files]",),
    "no-create-role": (f"{_DUMPS}::test_readers_read_and_change_nothing",),
    "backup-exists": (f"{_ARGUMENTS}[backup over a file]", f"{_MANAGER}::test_a_backup_overwrites_nothing"),
    "backup-unwritten": (f"{_MANAGER}::test_a_backup_that_cannot_be_written_says_so",),
    "backup-unsound": (f"{_STAGED}::test_a_backup_of_a_damaged_file_is_none",),
    "no-pg-dump": (f"{_DUMPS}::test_a_backup_without_its_program_says_what_to_run",),
    "pg-dump-failed": (f"{_DUMPS}::test_a_backup_that_fails_leaves_no_file",),
    "copy-itself": (f"{_COPY}::test_a_target_that_is_none[is the database itself]",),
    "copy-not-empty": (f"{_COPY}::test_a_target_that_holds_rows_is_left_alone",),
    "copy-nothing": (f"{_COPY}::test_no_database_to_copy",),
    "copy-row": (f"{_COPY}::test_rows_of_another_hand[a row of coverage cannot be copied into]",),
    "copy-count": (f"{_COPY}::test_rows_of_another_hand[rows of candles arrived in]",),
    "firewall": (f"{_ADVICE}[firewall]",),
    "restricted": (f"{_ADVICE}[set base_urls to https://data-api.binance.vision]",),
    "refused-key": (f"{_ADVICE}[check the key]",),
    "rests": (f"{_STAGED}::test_a_rest_that_was_asked_for_is_told_with_its_end",),
    "breaker": (f"{_STAGED}::test_an_open_breaker_is_told_with_its_end",),
    "left-alone": (f"{_STAGED}::test_a_source_that_only_fails_is_left_alone",),
    "broken-address": (
        "contract/test_http.py::test_a_broken_address_is_not_worth_a_retry",
        "contract/test_http.py::test_a_broken_proxy_is_not_worth_a_retry",
    ),
    "unlisted": (f"{_CCXT}::test_a_symbol_without_a_list_is_guessed_or_waits[does not list BTC/USD]",),
    "no-list": (f"{_CCXT}::test_a_symbol_without_a_list_is_guessed_or_waits[has no list of markets now]",),
    "no-coin": (f"{_COINS}::test_what_it_does_not_list_is_unknown[no coin with the ticker NOPE]",),
    "many-coins": (f"{_COINS}::test_a_shared_ticker_names_its_coins",),
    "no-quote": (f"{_COINS}::test_what_it_does_not_list_is_unknown[nothing in FDUSD]",),
    "no-such-candles": (f"contract/test_client_coingecko.py::{_NEVER_ASKED}[has no 1d candles, only]",),
    "too-far-back": (f"contract/test_client_yahoo.py::{_NEVER_ASKED}[reaches back only 730 d]",),
    "kraken-back": (f"{_CCXT}::test_kraken_reaches_back_720_candles",),
    "other-days": (f"{_CCXT}::test_days_of_another_time_zone_are_refused",),
    "release-price": (f"{_NO_CANDLE}[no positive number]",),
    "release-high": (f"{_NO_CANDLE}[a high or low that its open and close exceed]",),
    "release-volume": (f"{_NO_CANDLE}[volume below 0 or without bounds]",),
    "release-outside": (f"{_NO_CANDLE}[outside the time]",),
    "release-better": (f"{_RELEASE}::test_a_sound_candle_stays",),
    "release-unreadable": (f"{_RELEASE}::test_a_row_that_nobody_can_read_is_refused",),
    "release-early": (f"{_RELEASE}::test_a_series_without_proof_takes_nothing",),
    "release-again": (f"{_RELEASE}::test_nothing_is_released_twice",),
}  # fmt: skip
