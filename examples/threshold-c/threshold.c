/* Publishes {"high":true} when a reading passes config.high, {"high":false}
 * when it is config.hysteresis below it again, and nothing in between. */
#include <headgate.h>
#include <stdio.h>
#include <string.h>

static double high, hysteresis;

static int number(const char *key, double *out) {
  char json[48] = "{\"v\":"; /* a config value is JSON: make an object of it */
  int32_t n = hg_config(key, json + 5, sizeof json - 7);
  if (n < 0 || n > (int32_t)sizeof json - 7) return 0;
  strcpy(json + 5 + n, "}");
  return hg_json_number(json, strlen(json), "v", out);
}

/* Runs once, before the clean state is taken; no event pays for it. */
HG_INIT {
  if (!number("high", &high)) return hg_fail("config.high is missing");
  if (!number("hysteresis", &hysteresis)) hysteresis = 0;
  return 0;
}

HG_HANDLE {
  char in[256], sensor[64] = "", topic[80];
  double value;
  size_t n = hg_input(in, sizeof in);
  if (n > sizeof in || !hg_json_number(in, n, "value", &value)) return hg_fail("no value in the event");
  if (hg_meta("params.sensor", sensor, sizeof sensor - 1) > (int32_t)sizeof sensor - 1) return hg_fail("the sensor's name is too long");

  int was = hg_kv_get(sensor, NULL, 0) >= 0; /* there is a key while it is high */
  int is = value > (was ? high - hysteresis : high);
  if (is == was) return 0;
  int32_t rc = is ? hg_kv_set(sensor, "1", 1, 0) : hg_kv_del(sensor);
  if (rc < 0) return hg_fail("cannot store the sensor's state");

  char text[64];
  snprintf(topic, sizeof topic, "alarms/%s", sensor);
  snprintf(text, sizeof text, "{\"high\":%s,\"value\":%g}", is ? "true" : "false", value);
  return hg_publish(topic, text, strlen(text), HG_QOS1 | HG_RETAIN, 0);
}
