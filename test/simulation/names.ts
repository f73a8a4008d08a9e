/** Namespace of the Runners. */
export const NAMESPACE = 'ci';

/** Stands in every secret, and must stand nowhere else. */
export const SECRET = 'S3CR3T';

/** Who writes what users and administrators write. */
export const USER = 'user';
