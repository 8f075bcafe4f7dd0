import uos

sep = "/"


def join(first, *rest):
    for p in rest:
        first = p if p.startswith("/") else first + p if first == "" or first.endswith("/") else first + "/" + p
    return first


def split(p):
    head, _, tail = p.rpartition("/")
    return head or ("/" if p.startswith("/") else ""), tail


def dirname(p):
    return split(p)[0]


def basename(p):
    return split(p)[1]


def splitext(p):
    tail = basename(p)
    i = tail.rfind(".")
    return (p, "") if i <= 0 else (p[: i - len(tail)], tail[i:])


def _mode(p):
    try:
        return uos.stat(p)[0]
    except OSError:
        return 0


def exists(p):
    return _mode(p) != 0


def isfile(p):
    return _mode(p) & 0x8000 != 0


def isdir(p):
    return _mode(p) & 0x4000 != 0


def isabs(p):
    return p.startswith("/")


def abspath(p):
    return p if isabs(p) else "/" + p


realpath = abspath
