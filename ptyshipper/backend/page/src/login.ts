/** Whether the backend lets this browser in, by its own last answer: nothing else here can know, since
 * no script sees the cookie. */

const WAS_LET_IN = "ptyshipper.logged-in";
let isIn: boolean | null = null;
let told: (isIn: boolean) => void = () => {};

/** `tell` is called now, if that is known, and whenever it changes. */
export function onLogin(tell: (isIn: boolean) => void): void {
  told = tell;
  if (isIn !== null) tell(isIn);
}

export function noteLetIn(yes: boolean): void {
  if (yes) localStorage.setItem(WAS_LET_IN, "yes");
  if (isIn === yes) return;
  isIn = yes;
  told(yes);
}

/** Somebody was let in once, so that a refusal means that the login has expired. */
export function wasLetIn(): boolean {
  return localStorage.getItem(WAS_LET_IN) !== null;
}

export async function logOut(): Promise<void> {
  await fetch("/logout", { method: "POST", redirect: "manual" }).catch(() => null);
  localStorage.removeItem(WAS_LET_IN);
  location.assign("/");
}
