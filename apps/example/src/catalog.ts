interface Product {
  readonly priceCents: number
  /** Downloads are there at once, so the follow-up need not wait for the parcel. */
  readonly isDownload?: boolean
}

export const catalog: Readonly<Record<string, Product>> = {
  tea: { priceCents: 690 },
  coffee: { priceCents: 1_250 },
  mug: { priceCents: 1_490 },
  kettle: { priceCents: 4_900 },
  'tea-book': { priceCents: 990, isDownload: true },
  'barista-course': { priceCents: 2_900, isDownload: true },
}
