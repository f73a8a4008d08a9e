/** What an informer showed: the moment is of CLOCK_MONOTONIC, which all processes of a machine share. */
export interface Seen {
  readonly name: string;
  readonly resourceVersion: string;
  readonly at: number;
}

export type Task =
  | { readonly do: 'follow'; readonly namespaces?: readonly string[] | undefined }
  | { readonly do: 'count' }
  | { readonly do: 'usage' }
  | { readonly do: 'take' };

export interface Answer {
  readonly objects?: number;
  readonly heapMiB?: number;
  readonly residentMiB?: number;
  /** CPU time used so far, before and after the garbage collection that the answer began with. */
  readonly cpuMsBefore?: number;
  readonly cpuMsAfter?: number;
  readonly seen?: readonly Seen[];
  readonly problems?: number;
  readonly error?: string;
}
