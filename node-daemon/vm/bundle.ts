/** What the class gave the VM, in plain units. */
export interface RunnerResources {
  readonly cpu: number;
  readonly memoryBytes: number;
  readonly diskBytes: number;
}
