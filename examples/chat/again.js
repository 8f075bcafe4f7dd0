import { ask } from "./lib/talk.js";

// Asks once more. While the service is down this throws, and the gateway tries
// it again, later and later.
export default async (event, ctx) => {
  const { user, text } = event.data;
  ctx.publish(`chat/${user}/reply`, { text, reply: await ask(user, text, ctx) }, { qos: 1 });
};
