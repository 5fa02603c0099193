// The right column: the protocol of what is selected.
import { byId, fill } from "./element.js";
import { facts } from "./facts.js";
import { get } from "./http.js";
import { messageProtocol } from "./message_protocol.js";
import { notify } from "./notice.js";
import { setText } from "./texts.js";
import { TurnProtocol } from "./turn_protocol.js";

export class Protocol {
  /** `select` gets a turn and the key of one of its parts. */
  constructor(select) {
    this.session = null;
    /** The parts of the session, by id. */
    this.parts = new Map();
    /** The message or the turn that is shown, and of a turn the key of the part. */
    this.item = null;
    this.part = undefined;
    this.body = byId("protocol-body");
    this.turn = new TurnProtocol(this.body, select);
  }

  open(session) {
    this.session = session;
    this.parts.clear();
  }

  update(change) {
    if (change.reset) this.parts.clear();
    for (const item of change.set) if (item.kind === "part") this.parts.set(item.id, item);
  }

  /** Show a message, or a turn and the part with the key `part`. */
  async show(item, part) {
    if (this.item?.id !== item.id || this.part !== part) this.body.scrollTop = 0;
    this.item = item;
    this.part = part;
    byId("close-protocol").hidden = false;
    setText(byId("protocol-title"), `protocol.${item.kind}`);
    if (item.kind === "turn") {
      const parts = [...this.parts.values()].filter((one) => one.turn === item.id);
      this.turn.show(item, parts, part);
    }
    const detail = item.state === "queued" ? {} : await this.detail(item, part);
    if (!detail || this.item !== item || this.part !== part) return;
    if (item.kind === "turn") this.turn.showPart(detail);
    else {
      fill(this.body, messageProtocol(item, detail));
      await this.diagnose();
    }
  }

  /** Show what the commands say of the message: what became of it, why, and what to do. */
  async diagnose() {
    const { item, session } = this;
    if (item?.kind !== "message") return;
    const key = item.state === "queued" ? {} : { message: item.key };
    try {
      const found = await get("/api/diagnosis", { session, ...key });
      if (this.item === item) fill(byId("diagnosis"), facts(Object.entries(found)));
    } catch (error) {
      notify(error.message);
    }
  }

  async detail(item, part) {
    const { session } = this;
    try {
      if (item.kind === "turn") return await get("/api/part", { session, part });
      return await get("/api/message", { session, message: item.key });
    } catch (error) {
      notify(error.message);
    }
  }
}
