"""What can come of a question for candles, source by source, and what is to be made of it: values for a table test."""

from __future__ import annotations

from dataclasses import dataclass

from tests.contract.wire import Reply

SOURCES = ("binance", "okx", "kraken", "coinbase", "coingecko", "yahoo")
BEFORE = 3  # failures in a row that the breaker has counted when a case begins


@dataclass(frozen=True)
class Expected:
    """The error of each try, how many there are, and the breaker's count after them."""

    error: str
    tries: int = 1
    failures: int = BEFORE


TROUBLE = Expected("RetryableError", 5, BEFORE + 5)
GARBAGE = Expected("BadPayload", 5, BEFORE + 5)
RESTS = Expected("RateLimited")
NO_KEY = Expected("AuthenticationFailed")
WRONG_QUESTION = Expected("CannotServe", failures=0)  # it answered, and well: a row of failures ends
NO_SUCH_MARKET = Expected("UnknownSymbol", failures=0)

SANDBOX_FAULTS = {
    "status:403": RESTS, "status:418": RESTS, "status:429": RESTS, "status:451": RESTS,
    "status:500": TROUBLE, "status:502": TROUBLE, "status:503": TROUBLE, "status:504": TROUBLE,
    "hang": TROUBLE, "reset": TROUBLE, "truncate": TROUBLE,
    "html": GARBAGE, "cut_json": GARBAGE, "empty_body": GARBAGE,
}  # fmt: skip

_HTML_404 = Reply(404, b"<html><body>404 Not Found</body></html>", {"Content-Type": "text/html"})
REPLIES: dict[tuple[str, str], tuple[Reply, Expected]] = {
    ("binance", "400"): (Reply(400, b'{"code":-1102,"msg":"Mandatory parameter was not sent."}'), WRONG_QUESTION),
    ("okx", "400"): (Reply(400, b'{"code":"50014","msg":"Parameter bar cannot be empty.","data":[]}'), WRONG_QUESTION),
    ("kraken", "400"): (Reply(400, b'{"error":["EGeneral:Invalid arguments"]}'), WRONG_QUESTION),
    ("coinbase", "400"): (Reply(400, b'{"message":"Unsupported granularity"}'), WRONG_QUESTION),
    ("coingecko", "400"): (Reply(400, b'{"error":"invalid vs_currency"}'), WRONG_QUESTION),
    ("yahoo", "400"): (
        Reply(400, b'{"chart":{"result":null,"error":{"code":"Bad Request","description":"Invalid input"}}}'),
        WRONG_QUESTION,
    ),
    ("binance", "401"): (Reply(401, b'{"code":-2015,"msg":"Invalid API-key, IP, or permissions."}'), NO_KEY),
    ("okx", "401"): (Reply(401, b'{"code":"50111","msg":"Invalid OK-ACCESS-KEY","data":[]}'), NO_KEY),
    ("kraken", "401"): (Reply(401, b'{"error":["EAPI:Invalid key"]}'), NO_KEY),
    ("coinbase", "401"): (Reply(401, b'{"message":"invalid api key"}'), NO_KEY),
    ("coingecko", "401"): (
        Reply(401, b'{"status":{"error_code":10002,"error_message":"API Key Missing"}}'), NO_KEY,
    ),
    ("yahoo", "401"): (
        Reply(401, b'{"finance":{"result":null,"error":{"code":"Unauthorized","description":"not allowed"}}}'), NO_KEY,
    ),
    **{(source, "404"): (_HTML_404, WRONG_QUESTION) for source in SOURCES},
    **{(source, "wrong shape"): (Reply(200, b'{"answer":{"rows":7}}'), GARBAGE) for source in SOURCES},
    **{(source, "a number"): (Reply(200, b"42"), GARBAGE) for source in SOURCES},
    ("binance", "unknown symbol"): (Reply(400, b'{"code":-1121,"msg":"Invalid symbol."}'), NO_SUCH_MARKET),
    ("okx", "unknown symbol"): (
        Reply(200, b'{"code":"51001","msg":"Instrument ID or Spread ID does not exist.","data":[]}'), NO_SUCH_MARKET,
    ),
    ("kraken", "unknown symbol"): (Reply(200, b'{"error":["EQuery:Unknown asset pair"]}'), NO_SUCH_MARKET),
    ("coinbase", "unknown symbol"): (Reply(404, b'{"message":"NotFound"}'), NO_SUCH_MARKET),
    ("coingecko", "unknown symbol"): (Reply(404, b'{"error":"coin not found"}'), NO_SUCH_MARKET),
    ("yahoo", "unknown symbol"): (
        Reply(
            404,
            b'{"chart":{"result":null,"error":{"code":"Not Found",'
            b'"description":"No data found, symbol may be delisted"}}}',
        ),
        NO_SUCH_MARKET,
    ),
    ("coingecko", "too far back"): (
        Reply(401, b'{"error":{"status":{"error_code":10012,"error_message":"exceeds the allowed time range"}}}'),
        WRONG_QUESTION,
    ),
    ("yahoo", "too far back"): (
        Reply(
            422,
            b'{"chart":{"result":null,"error":{"code":"Unprocessable Entity","description":'
            b'"1h data not available. The requested range must be within the last 730 days."}}}',
        ),
        WRONG_QUESTION,
    ),
    ("kraken", "limit with 200"): (Reply(200, b'{"error":["EAPI:Rate limit exceeded"]}'), RESTS),
    ("okx", "limit with 200"): (Reply(200, b'{"code":"50011","msg":"Too Many Requests","data":[]}'), RESTS),
    ("coingecko", "limit with 200"): (
        Reply(200, b'{"status":{"error_code":429,"error_message":"You\'ve exceeded the Rate Limit."}}'), RESTS,
    ),
    ("kraken", "busy with 200"): (Reply(200, b'{"error":["EService:Unavailable"]}'), TROUBLE),
    ("okx", "busy with 200"): (Reply(200, b'{"code":"50001","msg":"Service unavailable","data":[]}'), TROUBLE),
    ("okx", "proxy wants a password"): (Reply(407, b""), NO_KEY),
    ("binance", "redirect"): (Reply(302, b"", {"Location": "https://example.invalid/"}), GARBAGE),
    ("kraken", "redirect"): (Reply(302, b"", {"Location": "https://example.invalid/"}), GARBAGE),
}  # fmt: skip
