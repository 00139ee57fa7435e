/** Loaded before a program: what it sends to the API reaches the simulator, with whatever key. */
import { registerHooks } from "node:module"

registerHooks({
  resolve: (specifier, context, next) =>
    specifier === "undici" && context.parentURL?.includes("/node_modules/effect-claude/") === true
      ? next(new URL("undici.ts", import.meta.url).href, context)
      : next(specifier, context)
})
