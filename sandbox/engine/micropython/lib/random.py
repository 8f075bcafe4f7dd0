# Clones of one clean state would share the generator, so each event seeds it
# from the gateway.
from urandom import *
import urandom
import headgate


def _reseed():
    urandom.seed(int.from_bytes(headgate._random(4), "little"))


headgate._hooks.append(_reseed)


def shuffle(x):
    for i in range(len(x) - 1, 0, -1):
        j = randrange(i + 1)
        x[i], x[j] = x[j], x[i]


def sample(population, k):
    pool = list(population)
    if not 0 <= k <= len(pool):
        raise ValueError("sample larger than population or negative")
    shuffle(pool)
    return pool[:k]


def choices(population, k=1):
    return [choice(population) for _ in range(k)]


def gauss(mu=0.0, sigma=1.0):
    import math

    return mu + sigma * math.sqrt(-2 * math.log(1 - random())) * math.cos(2 * math.pi * random())


normalvariate = gauss


class SystemRandom:
    random, randrange, randint, choice, uniform, getrandbits = random, randrange, randint, choice, uniform, getrandbits
