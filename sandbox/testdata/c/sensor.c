/* Reads sensors as the other languages' sensor guests do. */
#include <headgate.h>
#include <stdio.h>
#include <string.h>

static const char *code(const char *name, double max_age_ms) {
  double v;
  switch (hg_sensor(name, max_age_ms, &v)) {
    case HG_UNAVAILABLE: return "UNAVAILABLE";
    case HG_NOT_FOUND: return "NOT_FOUND";
    case HG_DENIED: return "DENIED";
    default: return "?";
  }
}

HG_HANDLE {
  double v;
  if (hg_sensor("soil-1", 60000, &v) != 0) return hg_fail("no reading");
  char out[128];
  snprintf(out, sizeof out, "%g %s %s %s %s", v, code("soil-old", 30000), code("soil-bad", 3600000), code("soil-none", 1), code("air", 1));
  hg_output(out, strlen(out));
  return 0;
}
