// Two workers, one after the other, each with an inspector on the next port.
const cluster = require("node:cluster");

if (cluster.isPrimary) {
  cluster.fork().once("online", () => cluster.fork());
} else {
  setInterval(() => {}, 1000);
}
