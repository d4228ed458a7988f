/** Bundles the front end into dist/client. */
export declare function buildClient(): Promise<void>
