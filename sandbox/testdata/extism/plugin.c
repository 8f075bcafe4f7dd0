/* An Extism plug-in that needs no PDK: the functions of extism:host/env as they are documented. */
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define IMPORT(name) __attribute__((import_module("extism:host/env"), import_name(#name))) extern
IMPORT(alloc) uint64_t ext_alloc(uint64_t);
IMPORT(length) uint64_t ext_length(uint64_t);
IMPORT(load_u8) uint8_t ext_load(uint64_t);
IMPORT(store_u8) void ext_store(uint64_t, uint8_t);
IMPORT(input_offset) uint64_t ext_input(void);
IMPORT(output_set) void ext_output(uint64_t, uint64_t);
IMPORT(error_set) void ext_error(uint64_t);
IMPORT(config_get) uint64_t ext_config(uint64_t);
IMPORT(var_get) uint64_t ext_var(uint64_t);
IMPORT(var_set) void ext_set(uint64_t, uint64_t);
IMPORT(log_info) void ext_log(uint64_t);

static uint64_t text(const char *s, size_t n) {
  uint64_t at = ext_alloc(n);
  for (size_t i = 0; i < n; i++) ext_store(at + i, s[i]);
  return at;
}

static size_t copy(uint64_t at, char *to, size_t room) {
  size_t n = ext_length(at);
  if (n > room) n = room;
  for (size_t i = 0; i < n; i++) to[i] = ext_load(at + i);
  return n;
}

static int calls;

__attribute__((export_name("run"))) int32_t run(void) {
  char in[64], out[160], number[8] = "0";
  size_t n = copy(ext_input(), in, sizeof in), m = 0;
  calls++;
  if (n == 6 && !memcmp(in, "random", 6)) {
    getentropy(out, 16);
    ext_output(text(out, 16), 16);
    return 0;
  }
  if (n == 4 && !memcmp(in, "fail", 4)) {
    ext_error(text("asked to fail", 13));
    return 1;
  }
  if (n == 4 && !memcmp(in, "trap", 4)) __builtin_trap();
  uint64_t seen = ext_var(text("seen:all", 8));
  if (seen) copy(seen, number, sizeof number);
  char after[1] = {number[0] + 1};
  ext_set(text("seen:all", 8), text(after, 1));
  ext_set(text("gone", 4), 0);
  if (ext_config(text("nosuch", 6))) return 2;
  ext_log(text("a plug-in runs", 14));
  out[m++] = '0' + calls;
  out[m++] = ' ';
  uint64_t mode = ext_config(text("mode", 4));
  if (mode) m += copy(mode, out + m, 32);
  out[m++] = ' ';
  out[m++] = number[0];
  out[m++] = ' ';
  for (size_t i = 0; i < n; i++) out[m++] = in[i] >= 'a' && in[i] <= 'z' ? in[i] - 32 : in[i];
  ext_output(text(out, m), m);
  return 0;
}

__attribute__((import_module("extism:host/env"), import_name("input_length"))) extern uint64_t ext_input_length(void);
__attribute__((import_module("extism:host/env"), import_name("input_load_u64"))) extern uint64_t ext_input_word(uint64_t);
__attribute__((import_module("headgate_v1"), import_name("publish"))) extern int32_t publish(const char *, size_t, const char *, size_t, uint32_t, uint32_t);

/* What the other languages measure too. A plug-in may call the gateway as well. */
__attribute__((export_name("threshold"))) int32_t threshold(void) {
  static union { uint64_t words[16]; char text[128]; } in;
  uint64_t n = ext_input_length();
  for (uint64_t i = 0; i + 8 <= n && i < sizeof in.text; i += 8) in.words[i / 8] = ext_input_word(i);
  for (uint64_t i = 0; i + 16 <= n && i + 16 < sizeof in.text; i++) {
    if (memcmp(in.text + i, "\"value\":", 8)) continue;
    int value = 0;
    for (uint64_t j = i + 8; in.text[j] >= '0' && in.text[j] <= '9'; j++) value = value * 10 + in.text[j] - '0';
    if (value >= 25) {
      uint64_t out = text("published", 9);
      ext_output(out, 9);
      return publish("alarm/gw-17", 11, in.text + i + 8, 5, 0, 0);
    }
  }
  return 0;
}
