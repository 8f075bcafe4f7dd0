"""Types of a Headgate function in Python, for editors and type checkers."""

from typing import Any, Iterator, Mapping, Optional, Union

Json = Union[None, bool, int, float, str, list, tuple, dict]
# Bytes go as they are, str as UTF-8, everything else as JSON.
Payload = Union[bytes, bytearray, memoryview, Json]
# Seconds, or a text such as "90s", "20m", "1h30m".
Duration = Union[int, float, str]

class HeadgateError(Exception):
    """The gateway refused a call."""

    # DENIED, LIMIT, INVALID, UNSUPPORTED or UNAVAILABLE
    code: str

class Event:
    """What happened."""

    # decoded where it is JSON, else bytes
    data: Any
    # the captures of the trigger
    params: Mapping[str, str]
    id: str
    source: str
    type: str
    # the topic, or the path of a request
    subject: str
    time: str
    datacontenttype: Optional[str]
    # 1 at first
    attempt: int
    def text(self) -> str: ...
    def bytes(self) -> bytes: ...
    def meta(self, key: str) -> Optional[str]: ...
    def __getitem__(self, key: str) -> str: ...

class State:
    """The function's stored keys. "other:key" is a key of the function other."""

    def get(self, key: str, default: Any = None) -> Any: ...
    def set(self, key: str, value: Payload, ttl: Optional[Duration] = None) -> None: ...
    def delete(self, key: str) -> None: ...
    # in order
    def list(self, prefix: str = "") -> list[str]: ...
    def __getitem__(self, key: str) -> Any: ...
    def __setitem__(self, key: str, value: Payload) -> None: ...
    def __delitem__(self, key: str) -> None: ...
    def __contains__(self, key: str) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...

class Object:
    """What a bucket has under a key."""

    bucket: str
    key: str
    # sha256: and hexadecimal
    digest: str
    size: int
    # the media type
    type: str
    # when it was put, as in RFC 3339
    modified: str
    def bytes(self) -> bytes: ...
    def text(self) -> str: ...
    def json(self) -> Any: ...

class Objects:
    """The objects that permissions.objects allows."""

    # None when there is none
    def get(self, bucket: str, key: str) -> Optional[Object]: ...
    # its bytes are read when they are asked for
    def stat(self, bucket: str, key: str) -> Optional[Object]: ...
    # up to length bytes from offset on
    def read(self, bucket: str, key: str, offset: int, length: int) -> Optional[bytes]: ...
    # without a type it has that of its key's ending
    def put(self, bucket: str, key: str, body: Payload, type: str = "") -> None: ...
    def delete(self, bucket: str, key: str) -> None: ...
    # the keys that start with prefix, in order
    def list(self, bucket: str, prefix: str = "") -> list[str]: ...

class Log:
    def __call__(self, message: object, *args: object) -> None: ...
    def debug(self, message: object, *args: object) -> None: ...
    def info(self, message: object, *args: object) -> None: ...
    def warning(self, message: object, *args: object) -> None: ...
    def error(self, message: object, *args: object) -> None: ...

class Response:
    """The answer to a fetch."""

    status: int
    ok: bool
    url: str
    headers: Mapping[str, str]
    content: bytes
    text: str
    def json(self) -> Any: ...
    def raise_for_status(self) -> None: ...

class Context:
    """What a handler may do. All of it happens when the handler has succeeded, or nothing."""

    state: State
    objects: Objects
    config: dict[str, Any]
    params: Mapping[str, str]
    log: Log
    def publish(self, topic: str, payload: Payload = None, qos: int = 0, retain: bool = False, expiry: Optional[Duration] = None) -> None: ...
    def enqueue(self, queue: str, payload: Payload = None, delay: Optional[Duration] = None) -> None: ...
    def invoke(self, function: str, payload: Payload = None) -> None: ...
    def metric(self, name: str, value: float) -> None: ...
    # None while it is not set
    def secret(self, name: str) -> Optional[str]: ...
    # seconds since 1970; time stands still while a handler computes
    def now(self) -> float: ...
    # the latest reading: value (only while quality is "good"), unit, quality, age_ms, at, last, fault, sensor, seq;
    # None where there is no such sensor. With max_age UNAVAILABLE unless it is good and no older.
    def sensor(self, name: str, max_age: Optional[Duration] = None) -> Optional[dict[str, Any]]: ...
    # the seconds that were granted
    def actuate(self, name: str, value: Payload, lease: Optional[Duration] = None) -> float: ...
    def fetch(
        self,
        url: str,
        method: str = "GET",
        headers: Optional[Mapping[str, str]] = None,
        body: Union[None, str, bytes] = None,
        json: Json = None,
        timeout: Optional[Duration] = None,
    ) -> Response: ...
