/** What examines texts: a third of this package, loaded when the first sanitizer is built. */
export { Examination } from "./examination.ts"
export { cutTo } from "./lengths.ts"
export { prepare } from "./phrases.ts"
