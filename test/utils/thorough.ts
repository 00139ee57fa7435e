/** `npm run test:thorough` takes all seeds, and more runs of what is drawn by lot. */
export const isThorough: boolean = process.env["THOROUGH"] === "1"

/** The first two, unless it is thorough. */
export const some = <A>(all: ReadonlyArray<A>): ReadonlyArray<A> => isThorough ? all : all.slice(0, 2)

/** A third, unless it is thorough: what is drawn is different each time. */
export const runs = (all: number): number => isThorough ? all : Math.ceil(all / 3)
