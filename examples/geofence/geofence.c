/* Says when a vehicle enters or leaves a fence, a polygon on the map.
 *
 * A position on the border would enter and leave with every wobble of the
 * receiver. So a vehicle is inside once it is config.margin metres past the
 * border, outside once it is that far on the other side, and in between it is
 * where it was. */
#include <headgate.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FENCES = 16, POINTS = 64, NAME = 32 };

struct point {
  double lat, lon; /* degrees */
};

static struct fence {
  char name[NAME];
  struct point at[POINTS];
  int n;
} fences[FENCES];
static int count;
static double margin; /* metres */

/* Reads {"yard":[[59.32,18.05],…],…}. The gateway writes the JSON of a config
 * value itself, so what is not a name or a number is punctuation. */
static const char *read_fences(char *s) {
  while (*s) {
    if (*s == '"') {
      char *name = ++s;
      while (*s && *s != '"') s++;
      if (count == FENCES) return "config.fences: there are more than 16";
      if (s - name >= NAME) return "config.fences: a name is longer than 31 bytes";
      memcpy(fences[count].name, name, s - name);
      count++;
    } else if (strchr("-0123456789", *s)) {
      struct fence *f = &fences[count - 1];
      if (!count || f->n == POINTS) return "config.fences: a fence has more than 64 points";
      f->at[f->n].lat = strtod(s, &s);
      if (*s != ',') return "config.fences: a point is [lat, lon]";
      f->at[f->n].lon = strtod(s + 1, &s);
      f->n++;
    }
    if (*s) s++;
  }
  for (int i = 0; i < count; i++)
    if (fences[i].n < 3) return "config.fences: a fence has less than 3 points";
  return count ? NULL : "config.fences: there is none";
}

/* Runs once, before the clean state is taken; no event pays for it. */
HG_INIT {
  static char json[32768];
  int32_t n = hg_config("fences", json, sizeof json - 1);
  if (n < 0 || n >= (int32_t)sizeof json) return hg_fail("config.fences is missing or too long");
  const char *fault = read_fences(json);
  if (fault) return hg_fail(fault);
  char text[32] = "";
  if (hg_config("margin", text, sizeof text - 1) > 0) margin = strtod(text, NULL);
  return 0;
}

/* How far p is inside the fence, in metres; negative is outside. Around p the
 * earth is flat enough. */
static double depth(const struct fence *f, struct point p) {
  const double metres = 111320; /* of a degree of latitude */
  double shrink = cos(p.lat * M_PI / 180), nearest = INFINITY;
  int inside = 0;
  for (int i = 0, j = f->n - 1; i < f->n; j = i++) {
    /* Both ends of one side, seen from p. */
    double ax = (f->at[j].lon - p.lon) * shrink * metres, ay = (f->at[j].lat - p.lat) * metres;
    double bx = (f->at[i].lon - p.lon) * shrink * metres, by = (f->at[i].lat - p.lat) * metres;
    double dx = bx - ax, dy = by - ay, length = dx * dx + dy * dy;
    double t = length > 0 ? -(ax * dx + ay * dy) / length : 0;
    t = t < 0 ? 0 : t > 1 ? 1 : t;
    nearest = fmin(nearest, hypot(ax + t * dx, ay + t * dy));
    /* A ray to the east crosses the border an odd number of times. */
    if ((ay > 0) != (by > 0) && ax - ay * dx / dy > 0) inside = !inside;
  }
  return inside ? nearest : -nearest;
}

/* Publishes that the vehicle has entered or left, and remembers it. */
static int32_t tell(const char *vehicle, const char *fence, const char *key, int inside, double at) {
  char topic[160], text[64];
  int32_t rc = inside ? hg_kv_set(key, "1", 1, 0) : hg_kv_del(key);
  if (rc < 0) return hg_fail("cannot store where the vehicle is");
  snprintf(topic, sizeof topic, "fleet/%s/fence/%s", vehicle, fence);
  snprintf(text, sizeof text, "{\"inside\":%s,\"at\":%.0f}", inside ? "true" : "false", at);
  return hg_publish(topic, text, strlen(text), HG_QOS1 | HG_RETAIN, 0) < 0 ? hg_fail("cannot publish") : 0;
}

HG_HANDLE {
  char in[512], vehicle[64] = "", key[128], text[32] = "";
  struct point p;
  double at;
  size_t n = hg_input(in, sizeof in);
  if (n > sizeof in || !hg_json_number(in, n, "lat", &p.lat) || !hg_json_number(in, n, "lon", &p.lon) || !hg_json_number(in, n, "at", &at)) {
    hg_log(HG_WARN, "not a position: lat, lon and at are numbers"); /* trying it again would not help */
    return 0;
  }
  if (hg_meta("params.vehicle", vehicle, sizeof vehicle - 1) >= (int32_t)sizeof vehicle) return hg_fail("the vehicle's name is longer than 63 bytes");

  /* Mobile networks deliver late and twice: where it was does not matter when
   * it is known where it went. */
  snprintf(key, sizeof key, "at/%s", vehicle);
  if (hg_kv_get(key, text, sizeof text - 1) > 0 && at <= strtod(text, NULL)) return 0;
  snprintf(text, sizeof text, "%.0f", at);
  if (hg_kv_set(key, text, strlen(text), 0) < 0) return hg_fail("cannot store the position's time");

  for (int i = 0; i < count; i++) {
    snprintf(key, sizeof key, "in/%s/%s", vehicle, fences[i].name); /* there while it is inside */
    int was = hg_kv_get(key, NULL, 0) >= 0;
    double d = depth(&fences[i], p);
    int is = was ? d > -margin : d > margin;
    if (is != was && tell(vehicle, fences[i].name, key, is, at) != 0) return 1;
  }
  return 0;
}
