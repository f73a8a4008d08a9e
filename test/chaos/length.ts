/** `npm run test:chaos` takes its time; the part of it in `npm test` does not. */
export const isLong = process.env.SHOESVZ_CHAOS === 'long';
