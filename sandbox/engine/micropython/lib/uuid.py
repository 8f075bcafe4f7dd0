import headgate
import binascii


class UUID:
    def __init__(self, hex=None, bytes=None):
        self.bytes = binascii.unhexlify(hex.replace("-", "").strip("{}")) if hex is not None else bytes
        if len(self.bytes) != 16:
            raise ValueError("badly formed hexadecimal UUID string")

    @property
    def hex(self):
        return binascii.hexlify(self.bytes).decode()

    def __str__(self):
        h = self.hex
        return "-".join((h[:8], h[8:12], h[12:16], h[16:20], h[20:]))

    def __repr__(self):
        return "UUID('%s')" % self

    def __eq__(self, other):
        return isinstance(other, UUID) and self.bytes == other.bytes

    def __hash__(self):
        return hash(self.bytes)


def uuid4():
    b = bytearray(headgate._random(16))
    b[6] = (b[6] & 15) | 64
    b[8] = (b[8] & 63) | 128
    return UUID(bytes=bytes(b))
