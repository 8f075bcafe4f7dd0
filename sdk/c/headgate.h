/*
 * headgate.h: functions for a Headgate gateway, in C. ABI v1.
 *
 *   #include "headgate.h"
 *
 *   HG_HANDLE {
 *     char in[256];
 *     double moisture;
 *     size_t n = hg_input(in, sizeof in);
 *     if (hg_json_number(in, n, "moisture", &moisture) && moisture < 30)
 *       return hg_publish("farm/3/valve", "open", 4, HG_QOS1, 0);
 *     return 0;
 *   }
 *
 * Build: clang --target=wasm32-wasi -mexec-model=reactor -O2 f.c -o f.wasm
 *
 * Every event starts from the same memory: static variables are as
 * HG_INIT left them, and what a handler changes is gone when it returns.
 * HG_HANDLE returns 0, or anything else to fail the event; nothing that a
 * failed event asked for happens.
 */
#ifndef HEADGATE_H
#define HEADGATE_H

#include <stddef.h>
#include <stdint.h>
#if __has_include(<stdlib.h>)
#include <stdlib.h>
#define HG_HAS_STDLIB 1
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Results below zero. Reads return a length, other calls 0. */
enum {
  HG_NOT_FOUND = -1,   /* the key, sensor, secret or config value does not exist */
  HG_DENIED = -2,      /* the function has no permission for it */
  HG_LIMIT = -3,       /* a limit of the function is reached */
  HG_INVALID = -4,     /* an argument is malformed */
  HG_UNSUPPORTED = -5, /* this gateway does not offer the call */
  HG_UNAVAILABLE = -6  /* it exists but does not answer now */
};

enum { HG_DEBUG = 0, HG_INFO = 1, HG_WARN = 2, HG_ERROR = 3 };
enum { HG_QOS0 = 0, HG_QOS1 = 1, HG_QOS2 = 2, HG_RETAIN = 4 };

#define HG_IMPORT(name) __attribute__((import_module("headgate_v1"), import_name(#name)))

/* The host calls as they are. Reads write at most cap bytes and return the
 * full length: when it is more than cap, call again with more room. */
HG_IMPORT(input_len) int32_t hg_raw_input_len(void);
HG_IMPORT(input_read) int32_t hg_raw_input_read(void *dst, uint32_t cap);
HG_IMPORT(output) void hg_raw_output(const void *p, uint32_t n);
HG_IMPORT(output_meta) int32_t hg_raw_output_meta(const void *k, uint32_t kn, const void *v, uint32_t vn);
HG_IMPORT(error) void hg_raw_error(const void *p, uint32_t n);
HG_IMPORT(meta) int32_t hg_raw_meta(const void *k, uint32_t kn, void *dst, uint32_t cap);
HG_IMPORT(log) void hg_raw_log(int32_t level, const void *p, uint32_t n);
HG_IMPORT(now_ms) int64_t hg_raw_now_ms(void);
HG_IMPORT(random) void hg_raw_random(void *dst, uint32_t n);
HG_IMPORT(config) int32_t hg_raw_config(const void *k, uint32_t kn, void *dst, uint32_t cap);
HG_IMPORT(secret) int32_t hg_raw_secret(const void *k, uint32_t kn, void *dst, uint32_t cap);
HG_IMPORT(kv_get) int32_t hg_raw_kv_get(const void *k, uint32_t kn, void *dst, uint32_t cap);
HG_IMPORT(kv_set) int32_t hg_raw_kv_set(const void *k, uint32_t kn, const void *v, uint32_t vn, uint32_t ttl_s);
HG_IMPORT(kv_del) int32_t hg_raw_kv_del(const void *k, uint32_t kn);
HG_IMPORT(kv_list) int32_t hg_raw_kv_list(const void *prefix, uint32_t pn, uint32_t cursor, void *dst, uint32_t cap);
HG_IMPORT(publish) int32_t hg_raw_publish(const void *t, uint32_t tn, const void *p, uint32_t pn, uint32_t flags, uint32_t expiry_s);
HG_IMPORT(enqueue) int32_t hg_raw_enqueue(const void *q, uint32_t qn, const void *p, uint32_t pn, uint32_t delay_s);
HG_IMPORT(invoke) int32_t hg_raw_invoke(const void *f, uint32_t fn, const void *p, uint32_t pn);
HG_IMPORT(sensor_read) int32_t hg_raw_sensor_read(const void *n, uint32_t nn, void *dst, uint32_t cap);
HG_IMPORT(actuate) int32_t hg_raw_actuate(const void *n, uint32_t nn, const void *v, uint32_t vn, uint32_t lease_ms);
HG_IMPORT(metric) void hg_raw_metric(const void *n, uint32_t nn, double value);
HG_IMPORT(blob_get) int32_t hg_raw_blob_get(const void *k, uint32_t kn, void *dst, uint32_t cap);
HG_IMPORT(blob_put) int32_t hg_raw_blob_put(const void *k, uint32_t kn, const void *p, uint32_t pn);
HG_IMPORT(http_fetch) int32_t hg_raw_http_fetch(const void *req, uint32_t rn, void *dst, uint32_t cap);
HG_IMPORT(blob_put_typed) int32_t hg_raw_blob_put_typed(const void *k, uint32_t kn, const void *t, uint32_t tn, const void *p, uint32_t pn);
HG_IMPORT(blob_stat) int32_t hg_raw_blob_stat(const void *k, uint32_t kn, void *dst, uint32_t cap);
HG_IMPORT(blob_read) int32_t hg_raw_blob_read(const void *k, uint32_t kn, int64_t offset, void *dst, uint32_t cap);
HG_IMPORT(blob_delete) int32_t hg_raw_blob_delete(const void *k, uint32_t kn);
HG_IMPORT(blob_list) int32_t hg_raw_blob_list(const void *prefix, uint32_t pn, uint32_t cursor, void *dst, uint32_t cap);

static inline uint32_t hg_len(const char *s) {
  uint32_t n = 0;
  while (s[n]) n++;
  return n;
}

/* Names are C strings; payloads and values are bytes with a length. */

/* hg_input copies the event's data and returns its full length. */
static inline size_t hg_input(void *dst, size_t cap) { return (size_t)hg_raw_input_read(dst, (uint32_t)cap); }
static inline size_t hg_input_len(void) { return (size_t)hg_raw_input_len(); }
static inline void hg_output(const void *p, size_t n) { hg_raw_output(p, (uint32_t)n); }
static inline int32_t hg_output_meta(const char *k, const char *v) { return hg_raw_output_meta(k, hg_len(k), v, hg_len(v)); }
static inline void hg_log(int32_t level, const char *text) { hg_raw_log(level, text, hg_len(text)); }
static inline int64_t hg_now_ms(void) { return hg_raw_now_ms(); }
static inline void hg_random(void *dst, size_t n) { hg_raw_random(dst, (uint32_t)n); }
static inline int32_t hg_meta(const char *k, void *dst, size_t cap) { return hg_raw_meta(k, hg_len(k), dst, (uint32_t)cap); }
/* hg_config reads one config value of the manifest, as JSON. */
static inline int32_t hg_config(const char *k, void *dst, size_t cap) { return hg_raw_config(k, hg_len(k), dst, (uint32_t)cap); }
/* hg_secret reads a secret that the manifest declares. */
static inline int32_t hg_secret(const char *k, void *dst, size_t cap) { return hg_raw_secret(k, hg_len(k), dst, (uint32_t)cap); }
static inline int32_t hg_kv_get(const char *k, void *dst, size_t cap) { return hg_raw_kv_get(k, hg_len(k), dst, (uint32_t)cap); }
static inline int32_t hg_kv_set(const char *k, const void *v, size_t n, uint32_t ttl_s) { return hg_raw_kv_set(k, hg_len(k), v, (uint32_t)n, ttl_s); }
static inline int32_t hg_kv_del(const char *k) { return hg_raw_kv_del(k, hg_len(k)); }
static inline int32_t hg_publish(const char *topic, const void *p, size_t n, uint32_t flags, uint32_t expiry_s) {
  return hg_raw_publish(topic, hg_len(topic), p, (uint32_t)n, flags, expiry_s);
}
/* hg_actuate switches an actuator "on" or "off" ("0.4" where it can be dimmed) for a lease, its own default for 0, and
 * returns the milliseconds that are granted; HG_UNAVAILABLE where an interlock forbids it now. It moves when the event is
 * settled, off moves at once. */
static inline int32_t hg_actuate(const char *name, const char *value, uint32_t lease_ms) {
  return hg_raw_actuate(name, hg_len(name), value, hg_len(value), lease_ms);
}
static inline int32_t hg_enqueue(const char *queue, const void *p, size_t n, uint32_t delay_s) { return hg_raw_enqueue(queue, hg_len(queue), p, (uint32_t)n, delay_s); }
static inline int32_t hg_invoke(const char *function, const void *p, size_t n) { return hg_raw_invoke(function, hg_len(function), p, (uint32_t)n); }
static inline void hg_metric(const char *name, double value) { hg_raw_metric(name, hg_len(name), value); }

/* hg_fail says why the handler is about to return non-zero. */
static inline int32_t hg_fail(const char *why) {
  hg_raw_error(why, hg_len(why));
  return 1;
}

/* A walk over keys:
 *   char page[512]; uint32_t cursor = 0;
 *   do {
 *     int32_t n = hg_kv_list("soil-", cursor, page, sizeof page);
 *     if (n < 0 || n > (int32_t)sizeof page) return hg_fail("page too small");
 *     const char *key; uint32_t len;
 *     for (hg_keys k = hg_page(page, n, &cursor); hg_next(&k, &key, &len);) ...
 *   } while (cursor);
 */
static inline int32_t hg_kv_list(const char *prefix, uint32_t cursor, void *dst, size_t cap) {
  return hg_raw_kv_list(prefix, hg_len(prefix), cursor, dst, (uint32_t)cap);
}

typedef struct {
  const uint8_t *at, *end;
} hg_keys;

static inline uint32_t hg_u32(const uint8_t *p) { return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24; }

static inline hg_keys hg_page(const void *page, int32_t n, uint32_t *cursor) {
  const uint8_t *p = (const uint8_t *)page;
  hg_keys k = {p, p};
  *cursor = 0;
  if (n >= 4) {
    *cursor = hg_u32(p);
    k.at = p + 4;
    k.end = p + n;
  }
  return k;
}

static inline int hg_next(hg_keys *k, const char **key, uint32_t *len) {
  if (k->end - k->at < 4) return 0;
  uint32_t n = hg_u32(k->at);
  if (n > (uint32_t)(k->end - k->at - 4)) return 0;
  *key = (const char *)k->at + 4;
  *len = n;
  k->at += 4 + n;
  return 1;
}

/* Objects are named bucket/key. hg_object_get copies one that fits into cap and
 * returns its full length; of one that does not fit nothing is copied.
 * hg_object_read copies what it has from an offset on, and returns how much
 * that was, 0 at its end. hg_object_stat gives {"digest","size","type",
 * "modified"}; hg_json_number finds the size. A type of "" is that of the key's
 * ending. hg_object_list walks over the keys of a bucket, as hg_kv_list does:
 * hg_object_list("camera/front/", cursor, page, sizeof page). */
static inline int32_t hg_object_get(const char *name, void *dst, size_t cap) { return hg_raw_blob_get(name, hg_len(name), dst, (uint32_t)cap); }
static inline int32_t hg_object_read(const char *name, uint64_t offset, void *dst, size_t cap) {
  return hg_raw_blob_read(name, hg_len(name), (int64_t)offset, dst, (uint32_t)cap);
}
static inline int32_t hg_object_stat(const char *name, void *dst, size_t cap) { return hg_raw_blob_stat(name, hg_len(name), dst, (uint32_t)cap); }
static inline int32_t hg_object_put(const char *name, const char *type, const void *p, size_t n) {
  return hg_raw_blob_put_typed(name, hg_len(name), type, hg_len(type), p, (uint32_t)n);
}
static inline int32_t hg_object_delete(const char *name) { return hg_raw_blob_delete(name, hg_len(name)); }
static inline int32_t hg_object_list(const char *prefix, uint32_t cursor, void *dst, size_t cap) {
  return hg_raw_blob_list(prefix, hg_len(prefix), cursor, dst, (uint32_t)cap);
}

/* hg_json_number finds "key": number in a flat JSON object. It is enough for
 * a sensor's reading; use a JSON library for more. */
static inline int hg_json_number(const char *s, size_t n, const char *key, double *out) {
  uint32_t kn = hg_len(key);
  for (size_t i = 0; i + kn + 2 < n; i++) {
    if (s[i] != '"') continue;
    size_t j = 0;
    while (j < kn && s[i + 1 + j] == key[j]) j++;
    size_t p = i + 1 + j;
    if (j < kn || s[p] != '"') { /* skip this string */
      for (i++; i < n && s[i] != '"'; i++)
        if (s[i] == '\\') i++;
      continue;
    }
    for (p++; p < n && (s[p] == ' ' || s[p] == ':' || s[p] == '\t' || s[p] == '\n' || s[p] == '\r'); p++) {}
    double sign = 1, v = 0, scale = 1;
    int digits = 0, e = 0, esign = 1;
    if (p < n && s[p] == '-') sign = -1, p++;
    for (; p < n && s[p] >= '0' && s[p] <= '9'; p++, digits++) v = v * 10 + (s[p] - '0');
    if (p < n && s[p] == '.')
      for (p++; p < n && s[p] >= '0' && s[p] <= '9'; p++, digits++) v += (s[p] - '0') * (scale /= 10);
    if (!digits) return 0;
    if (p < n && (s[p] == 'e' || s[p] == 'E')) {
      p++;
      if (p < n && (s[p] == '+' || s[p] == '-')) esign = s[p++] == '-' ? -1 : 1;
      for (; p < n && s[p] >= '0' && s[p] <= '9' && e < 400; p++) e = e * 10 + (s[p] - '0');
      for (; e > 0; e--) v = esign < 0 ? v / 10 : v * 10;
    }
    *out = sign * v;
    return 1;
  }
  return 0;
}

/* hg_sensor puts the value of a sensor into *value, if it is good and no older
 * than max_age_ms; else it returns an errno: HG_UNAVAILABLE for one that is
 * not. hg_sensor_read copies the whole reading, as JSON: value (only while the
 * quality is good), unit, quality, age_ms, at, last, fault, sensor, seq. */
static inline int32_t hg_sensor_read(const char *name, void *dst, size_t cap) { return hg_raw_sensor_read(name, hg_len(name), dst, (uint32_t)cap); }
static inline int32_t hg_sensor(const char *name, double max_age_ms, double *value) {
  char reading[1024];
  double age = 0;
  int32_t n = hg_sensor_read(name, reading, sizeof reading);
  if (n < 0) return n;
  if (n > (int32_t)sizeof reading) n = (int32_t)sizeof reading;
  if (!hg_json_number(reading, (size_t)n, "value", value) || !hg_json_number(reading, (size_t)n, "age_ms", &age) || age > max_age_ms) return HG_UNAVAILABLE;
  return 0;
}

/* hg_fetch sends an HTTP request to where permissions.fetch allows, and puts
 * the answer into buf; it builds the request there too, so buf needs room for
 * the larger of both. headers is a JSON object of strings, or NULL. It returns
 * the answer's length, or a number below zero: HG_LIMIT when the request does
 * not fit. When the length is over cap the answer is cut: call again with the
 * same request and more room, nothing is sent twice.
 *
 *   static char buf[4096];
 *   int32_t n = hg_fetch("POST", "https://api.example.org/v1", "{\"accept\":\"application/json\"}", "hi", 2, buf, sizeof buf);
 *   if (n < 0 || n > (int32_t)sizeof buf) return hg_fail("no answer");
 *   if (hg_fetch_status(buf, n) != 200) return hg_fail("refused");
 *   size_t len; const char *body = hg_fetch_body(buf, n, &len);
 */
static inline size_t hg_put(char *dst, size_t at, size_t cap, const char *s, size_t n) {
  for (size_t i = 0; i < n; i++, at++)
    if (at < cap) dst[at] = s[i];
  return at;
}

static inline size_t hg_put_text(char *dst, size_t at, size_t cap, const char *s) {
  for (; *s; s++) {
    if ((unsigned char)*s < ' ') return cap + 1; /* in no URL and no method */
    if (*s == '"' || *s == '\\') at = hg_put(dst, at, cap, "\\", 1);
    at = hg_put(dst, at, cap, s, 1);
  }
  return at;
}

static inline int32_t hg_fetch(const char *method, const char *url, const char *headers, const void *body, size_t n, char *buf, size_t cap) {
  size_t at = hg_put(buf, 0, cap, "{\"method\":\"", 11);
  at = hg_put_text(buf, at, cap, method);
  at = hg_put(buf, at, cap, "\",\"url\":\"", 9);
  at = hg_put_text(buf, at, cap, url);
  at = hg_put(buf, at, cap, "\"", 1);
  if (headers) {
    at = hg_put(buf, at, cap, ",\"headers\":", 11);
    at = hg_put(buf, at, cap, headers, hg_len(headers));
  }
  at = hg_put(buf, at, cap, "}\n", 2);
  at = hg_put(buf, at, cap, (const char *)body, n);
  if (at > cap) return HG_LIMIT;
  return hg_raw_http_fetch(buf, (uint32_t)at, buf, (uint32_t)cap);
}

/* hg_fetch_status is the answer's status, 0 when it has none. */
static inline int32_t hg_fetch_status(const char *answer, int32_t n) {
  const char *key = "\"status\":";
  for (int32_t i = 0; i + 9 < n && answer[i] != '\n'; i++) {
    int32_t j = 0, status = 0;
    while (j < 9 && answer[i + j] == key[j]) j++;
    if (j < 9) continue;
    for (i += 9; i < n && answer[i] >= '0' && answer[i] <= '9'; i++) status = status * 10 + (answer[i] - '0');
    return status;
  }
  return 0;
}

/* hg_fetch_body is the answer's body, after its head's one line. */
static inline const char *hg_fetch_body(const char *answer, int32_t n, size_t *len) {
  int32_t i = 0;
  while (i < n && answer[i] != '\n') i++;
  if (i < n) i++;
  *len = (size_t)(n - i);
  return answer + i;
}

#define HG_EXPORT(name) __attribute__((export_name(#name), used))

/* The marker that says which ABI this module speaks. */
HG_EXPORT(headgate_abi_v1) __attribute__((weak)) void headgate_abi_v1(void) {}

/* Clones of one clean state share rand()'s seed, so each event draws its own. */
static inline void hg_reseed(void) {
#ifdef HG_HAS_STDLIB
  unsigned seed;
  hg_random(&seed, sizeof seed);
  srand(seed);
#endif
}

/* HG_HANDLE { … } is the function that handles one event. */
#ifdef __cplusplus
#define HG_HANDLE                                                       \
  static int32_t hg_user_handle(void);                                  \
  extern "C" HG_EXPORT(headgate_handle) int32_t headgate_handle(void) { \
    hg_reseed();                                                        \
    return hg_user_handle();                                            \
  }                                                                     \
  static int32_t hg_user_handle(void)
#define HG_INIT extern "C" HG_EXPORT(headgate_init) int32_t headgate_init(void)
#else
#define HG_HANDLE                                            \
  static int32_t hg_user_handle(void);                       \
  HG_EXPORT(headgate_handle) int32_t headgate_handle(void) { \
    hg_reseed();                                             \
    return hg_user_handle();                                 \
  }                                                          \
  static int32_t hg_user_handle(void)
/* HG_INIT { … } runs once, before the clean state is taken. It may log, and
 * read config and random; it returns 0, or the function is refused. */
#define HG_INIT HG_EXPORT(headgate_init) int32_t headgate_init(void)
#endif

#ifdef __cplusplus
}
#endif
#endif
