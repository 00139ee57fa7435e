const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

/** One byte of what the text stands for, 0 beyond its end: headers are read without decoding megabytes. */
const byteAt = (base64: string, index: number): number => {
  const digit = Math.floor(index / 3) * 4 + index % 3
  const high = digits.indexOf(base64.charAt(digit))
  const low = digits.indexOf(base64.charAt(digit + 1))
  const shift = (index % 3 + 1) * 2
  return (high << shift | low >> (6 - shift)) & 255
}

/** An unsigned integer of `bytes` bytes, the highest first. */
const big = (base64: string, index: number, bytes: number): number => {
  let value = 0
  for (let i = 0; i < bytes; i++) value = value * 256 + byteAt(base64, index + i)
  return value
}

/** An unsigned integer of `bytes` bytes, the lowest first. */
const little = (base64: string, index: number, bytes: number): number => {
  let value = 0
  for (let i = bytes - 1; i >= 0; i--) value = value * 256 + byteAt(base64, index + i)
  return value
}

const png = (data: string): number => big(data, 16, 4) * big(data, 20, 4)

const gif = (data: string): number => little(data, 6, 2) * little(data, 8, 2)

const webp = (data: string): number => {
  switch (big(data, 12, 4)) {
    case 0x56503858: // VP8X
      return (little(data, 24, 3) + 1) * (little(data, 27, 3) + 1)
    case 0x56503820: // VP8, lossy
      return (little(data, 26, 2) & 0x3fff) * (little(data, 28, 2) & 0x3fff)
    case 0x5650384c: // VP8L, lossless
      return ((little(data, 21, 2) & 0x3fff) + 1) * ((little(data, 22, 3) >> 6 & 0x3fff) + 1)
    default:
      return 0
  }
}

/** Real files have at most a few hundred segments before the frame. */
const maxSegments = 1_000

const jpeg = (data: string): number => {
  let at = 2
  for (let segment = 0; segment < maxSegments && byteAt(data, at) === 0xff; segment++) {
    const marker = byteAt(data, at + 1)
    if (marker === 0xff) at += 1 // a fill byte
    else if (marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc) {
      return big(data, at + 5, 2) * big(data, at + 7, 2)
    } else at += 2 + big(data, at + 2, 2)
  }
  return 0
}

/** How many pixels a PNG, JPEG, GIF or WebP image in base64 has, read from its header; 0 when that cannot be read. */
export const pixels = (data: string): number => {
  if (data.startsWith("iVBORw0KGgo")) return png(data)
  if (data.startsWith("/9j/")) return jpeg(data)
  if (data.startsWith("R0lGOD")) return gif(data)
  return data.startsWith("UklGR") && big(data, 8, 4) === 0x57454250 ? webp(data) : 0
}
