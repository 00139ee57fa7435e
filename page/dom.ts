/** Elements, and changes of them that touch the document only where something is new. */

type Child = Node | string | undefined | false

/** An element with attributes and children; one of SVG or HTML by its name. */
export const h = <K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, string | undefined>> = {},
  ...children: ReadonlyArray<Child>
): HTMLElementTagNameMap[K] => {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined) element.setAttribute(name, value)
  for (const child of children) if (child !== undefined && child !== false) element.append(child)
  return element
}

export const byId = <T extends HTMLElement = HTMLElement>(id: string): T => document.getElementById(id) as T // the page has it

export const setText = (element: HTMLElement, text: string): void => {
  if (element.textContent !== text) element.textContent = text
}

export const setClass = (element: HTMLElement, name: string): void => {
  if (element.className !== name) element.className = name
}

/** Keeps one row for each item, by its key: rows that stay are changed in place. */
export const rows = <A>(
  parent: HTMLElement,
  keyOf: (item: A) => string,
  make: (item: A) => { readonly element: HTMLElement; readonly update: (item: A) => void }
) => {
  const known = new Map<string, ReturnType<typeof make>>()
  return (items: ReadonlyArray<A>): void => {
    const keys = new Set(items.map(keyOf))
    for (const [key, { element }] of known) {
      if (keys.has(key)) continue
      element.remove()
      known.delete(key)
    }
    items.forEach((item, index) => {
      const key = keyOf(item)
      const row = known.get(key) ?? make(item)
      known.set(key, row)
      row.update(item)
      if (parent.children[index] !== row.element) parent.insertBefore(row.element, parent.children[index] ?? null)
    })
  }
}
