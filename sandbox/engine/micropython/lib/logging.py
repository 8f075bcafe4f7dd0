# What is logged goes to the function's log, with its level.
import headgate

CRITICAL, ERROR, WARNING, INFO, DEBUG, NOTSET = 50, 40, 30, 20, 10, 0


class Logger:
    def __init__(self, name):
        self.name = name
        self.level = NOTSET
        self.handlers = []

    def setLevel(self, level):
        self.level = globals()[level] if isinstance(level, str) else level

    def getEffectiveLevel(self):
        return self.level or _root.level

    def isEnabledFor(self, level):
        return level >= self.getEffectiveLevel()

    def log(self, level, message, *args):
        if self.isEnabledFor(level):
            headgate._log(3 if level >= ERROR else 2 if level >= WARNING else 1 if level >= INFO else 0, message, args)

    def debug(self, message, *args):
        self.log(DEBUG, message, *args)

    def info(self, message, *args):
        self.log(INFO, message, *args)

    def warning(self, message, *args):
        self.log(WARNING, message, *args)

    warn = warning

    def error(self, message, *args):
        self.log(ERROR, message, *args)

    def critical(self, message, *args):
        self.log(CRITICAL, message, *args)

    def exception(self, message, *args):
        self.log(ERROR, message, *args)

    def addHandler(self, handler):
        pass


_root = Logger("root")
_root.level = INFO
_loggers = {}


def getLogger(name=None):
    if not name or name == "root":
        return _root
    if name not in _loggers:
        _loggers[name] = Logger(name)
    return _loggers[name]


def basicConfig(level=None, **_):
    if level is not None:
        _root.setLevel(level)


debug, info, warning, error, critical, exception, log = _root.debug, _root.info, _root.warning, _root.error, _root.critical, _root.exception, _root.log
