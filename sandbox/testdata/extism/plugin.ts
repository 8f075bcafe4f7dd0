import { Config, Host, LogLevel, Memory, Var } from "@extism/as-pdk";
import { error_set } from "@extism/as-pdk/lib/env";

let calls = 0;

export function run(): i32 {
  calls++;
  const input = Host.inputString();
  if (input == "fail") {
    error_set(Memory.allocateString("asked to fail").offset);
    return 1;
  }
  if (input == "trap") unreachable();
  const before = Var.getString("seen:all");
  const seen = before === null ? 0 : I32.parseInt(before);
  Var.set("seen:all", Uint8Array.wrap(String.UTF8.encode((seen + 1).toString())));
  Var.remove("gone");
  const mode = Config.get("mode");
  if (Config.get("nosuch") !== null) return 2;
  Host.log(LogLevel.Info, "a plug-in runs");
  Host.outputString(calls.toString() + " " + (mode === null ? "none" : mode) + " " + seen.toString() + " " + input.toUpperCase());
  return 0;
}

export function aborted(message: string | null, file: string | null, line: u32, column: u32): void {
  unreachable();
}
