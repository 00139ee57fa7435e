/** Imports the program that is named, and runs what it exports as `main`. */
import { Effect } from "effect"
import { pathToFileURL } from "node:url"

const { main } = await import(pathToFileURL(process.argv[2]!).href) // called with a path
if (Effect.isEffect(main)) await Effect.runPromise(main as Effect.Effect<unknown>) // the compiler has seen the program, not this
