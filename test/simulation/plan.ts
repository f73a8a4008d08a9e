import type { RunnerSpec } from '../../crds/runner.ts';
import type { ScriptPlan } from './host/guest-script.ts';

/** A Runner as the simulation's user asks for it. */
export interface RunnerWish {
  readonly spec: Omit<RunnerSpec, 'setupScript'>;
  readonly script?: (ScriptPlan & { readonly fromSecret: boolean }) | undefined;
}

/** Who can be hit: a controller or a host, by name. */
type Who = string;

/** What a user or the world does, in which order it is the timeline's to say. Times in milliseconds. */
export type Deed =
  | { readonly do: 'create'; readonly name: string; readonly wish: RunnerWish }
  | { readonly do: 'delete'; readonly name: string }
  | { readonly do: 'kill'; readonly who: Who; readonly downMs: number }
  | { readonly do: 'killAt'; readonly who: Who; readonly boundaries: number; readonly downMs: number }
  | { readonly do: 'restart'; readonly who: Who }
  | {
      readonly do: 'cut';
      readonly who: Who;
      readonly way: 'none' | 'oneWay';
      readonly forMs: number;
      /** When it is over the API server has forgotten what happened meanwhile. */
      readonly forgets: boolean;
    }
  | { readonly do: 'lag'; readonly who: Who; readonly byMs: number; readonly forMs: number }
  | { readonly do: 'loseAnswers'; readonly who: Who; readonly times: number }
  | { readonly do: 'refuse'; readonly who: Who; readonly code: 429 | 500 | 503; readonly times: number }
  | { readonly do: 'apiDown'; readonly forMs: number; readonly forgets: boolean }
  | { readonly do: 'compact' }
  | { readonly do: 'dropWatches'; readonly forgets: boolean }
  | { readonly do: 'jumpClock'; readonly who: Who; readonly byMs: number }
  | { readonly do: 'reboot'; readonly host: Who; readonly downMs: number }
  | { readonly do: 'fillDisk'; readonly host: Who; readonly forMs: number }
  | { readonly do: 'breakDisk'; readonly host: Who; readonly forMs: number }
  | { readonly do: 'blind'; readonly host: Who; readonly forMs: number }
  | { readonly do: 'endVm'; readonly host: Who }
  | { readonly do: 'hangVm'; readonly host: Who }
  | { readonly do: 'resetGuest'; readonly host: Who }
  | { readonly do: 'stickVm'; readonly host: Who; readonly forMs: number }
  | { readonly do: 'failClones'; readonly host: Who; readonly times: number }
  | { readonly do: 'leakSlots'; readonly host: Who }
  | { readonly do: 'slowClones'; readonly host: Who; readonly times: number; readonly byMs: number }
  | { readonly do: 'hangBoots'; readonly host: Who; readonly times: number }
  | { readonly do: 'removeBundle'; readonly host: Who }
  | { readonly do: 'deleteLease'; readonly host: Who }
  | { readonly do: 'cordon'; readonly host: Who; readonly forMs: number }
  | { readonly do: 'withdrawTemplate'; readonly host: Who; readonly forMs: number }
  | { readonly do: 'deleteTemplate'; readonly forMs: number }
  | { readonly do: 'loseHost'; readonly host: Who }
  | { readonly do: 'deleteHost'; readonly host: Who };

export type DeedName = Deed['do'];

export interface Step {
  readonly at: number;
  readonly deed: Deed;
}

/** All that befalls one simulated system. What is not in it is the same for all plans of one seed. */
export interface Plan {
  readonly seed: number;
  readonly hosts: readonly HostPlan[];
  /** Several are elected from; a single one may be, too. */
  readonly controllers: readonly string[];
  readonly elects: boolean;
  /** In the order of their times. */
  readonly steps: readonly Step[];
}

export interface HostPlan {
  readonly name: string;
  readonly kind: 'LinuxHost' | 'MacHost';
  readonly maxRunners: number;
}

/** When the last step is taken and all that was broken is mended, at the latest. */
export const CALM_AT_MS = 180_000;
