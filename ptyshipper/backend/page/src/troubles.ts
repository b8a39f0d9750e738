/** What a reader is told when the backend refuses, or does not answer. */

import { Refused } from "./api.ts";
import { wasLetIn } from "./login.ts";

export interface Trouble {
  title: string;
  help: string;
  /** Whether it may pass by itself, so that asking again makes sense. */
  passes: boolean;
}

export function troubleOf(error: unknown): Trouble {
  const status = error instanceof Refused ? error.status : 0;
  switch (status) {
    case 0:
      return { title: "Disconnected", help: "The backend does not answer; trying again…", passes: true };
    case 401: {
      const help = "Open a link that “ptyshipper token link” prints on the backend's machine.";
      return { title: wasLetIn() ? "Your login has expired" : "You are not logged in", help, passes: false };
    }
    case 403:
      return { title: "Not allowed", help: "This login may not see that.", passes: false };
    case 404:
      return {
        title: "No such session",
        help: "There is none with this id, its time has passed, or it is not for this login.",
        passes: false,
      };
    case 400:
      return { title: "That can't be asked", help: (error as Refused).message, passes: false };
    default:
      return { title: "The backend has trouble", help: "It says: " + (error as Refused).message + ". Trying again…", passes: true };
  }
}
