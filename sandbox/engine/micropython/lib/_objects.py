# Objects in buckets. It is loaded by who asks for them.
import json as _json
import headgate
import _host

_read = headgate._read
_room = headgate._ROOM


def _named(bucket, key, what):
    return headgate._name(bucket, what + ": the bucket") + "/" + headgate._name(key, what + ": the key")


class Object:
    """What a bucket has under a key."""

    def __init__(self, bucket, key, about, content=None):
        self.bucket, self.key, self._content = bucket, key, content
        self.digest, self.size, self.type, self.modified = about["digest"], about["size"], about["type"], about["modified"]

    def bytes(self):
        if self._content is None:
            self._content = _content(self.bucket + "/" + self.key, self.size)
        return self._content

    def text(self):
        return self.bytes().decode()

    def json(self):
        return _json.loads(self.bytes())


def _content(name, size):
    room = bytearray(size)
    n = _host.blob_get(name, headgate._addressof(room), size)
    if n < 0:
        headgate._refused(n)
    return bytes(room)


class Objects:
    """The objects that permissions.objects allows."""

    def stat(self, bucket, key):
        raw = _read(_host.blob_stat, _named(bucket, key, "objects.stat"))
        return None if raw is None else Object(bucket, key, _json.loads(raw))

    def get(self, bucket, key):
        found = self.stat(bucket, key)
        if found is not None:
            found.bytes()
        return found

    def read(self, bucket, key, offset, length):
        room = bytearray(length)
        n = _host.blob_read(_named(bucket, key, "objects.read"), offset, headgate._addressof(room), length)
        if n == -1:
            return None
        if n < 0:
            headgate._refused(n)
        return bytes(room[:n])

    def put(self, bucket, key, body, type=""):
        name = _named(bucket, key, "objects.put")
        if not isinstance(body, (str, bytes, bytearray, memoryview)):
            body, type = headgate._json(body), type or "application/json"
        if isinstance(body, (str, memoryview)):
            body = body.encode() if isinstance(body, str) else bytes(body)
        n = _host.blob_put_typed(name, type, headgate._addressof(body), len(body))
        if n < 0:
            headgate._refused(n)

    def delete(self, bucket, key):
        n = _host.blob_delete(_named(bucket, key, "objects.delete"))
        if n < 0:
            headgate._refused(n)

    def list(self, bucket, prefix=""):
        return headgate._list(_host.blob_list, _named(bucket, prefix, "objects.list"))


objects = Objects()
