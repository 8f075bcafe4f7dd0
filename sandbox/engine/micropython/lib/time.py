# Time stands still while a handler computes, and moves while it sleeps.
from utime import *
import utime
import _host


def sleep(seconds):
    _host.sleep_ms(int(seconds * 1000))


def sleep_ms(ms):
    _host.sleep_ms(int(ms))


def sleep_us(us):
    _host.sleep_ms((int(us) + 999) // 1000)


def monotonic():
    return utime.time()


perf_counter = monotonic


def strftime(format, when=None):
    t = when or localtime()
    days = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    months = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
    out, i = "", 0
    while i < len(format):
        c = format[i]
        i += 1
        if c != "%" or i == len(format):
            out += c
            continue
        c = format[i]
        i += 1
        if c == "F":
            out += "%04d-%02d-%02d" % tuple(t[:3])
        elif c == "T":
            out += "%02d:%02d:%02d" % tuple(t[3:6])
        elif c in "YmdHMSj":
            out += ("%04d", "%02d", "%02d", "%02d", "%02d", "%02d", "%03d")["YmdHMSj".index(c)] % t[(0, 1, 2, 3, 4, 5, 7)["YmdHMSj".index(c)]]
        elif c == "y":
            out += "%02d" % (t[0] % 100)
        elif c == "I":
            out += "%02d" % ((t[3] + 11) % 12 + 1)
        elif c == "p":
            out += "PM" if t[3] > 11 else "AM"
        elif c in "aA":
            out += days[t[6]][: 3 if c == "a" else None]
        elif c in "bB":
            out += months[t[1] - 1][: 3 if c == "b" else None]
        elif c == "Z":
            out += "UTC"
        elif c == "z":
            out += "+0000"
        else:
            out += "%" if c == "%" else "%" + c
    return out
