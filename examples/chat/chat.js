import { ask, isUser } from "./lib/talk.js";

const problem = (detail) => Response.json({ status: 400, detail }, { status: 400 });

// Answers what a user says. When the service cannot, the user hears so at once,
// and the answer later.
export default async (event, ctx) => {
  if (event.request.method === "DELETE") {
    ctx.state.delete(`talk/${event.params.user}`);
    return new Response(null, { status: 204 });
  }
  const { user, text } = event.data ?? {};
  if (!isUser(user)) return problem("user is a name of 1 to 64 letters, digits, _, . and -");
  if (typeof text !== "string" || text.trim() === "") return problem("text is what the user says");
  try {
    return { reply: await ask(user, text, ctx) };
  } catch (error) {
    ctx.log.warn(`the language service: ${error.message}`);
    ctx.enqueue("chat/again", { user, text }, { delay: ctx.config.again });
    return { reply: "I cannot think just now. I will come back to you.", later: true };
  }
};
