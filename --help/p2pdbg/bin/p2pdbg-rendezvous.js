#!/usr/bin/env node
require("./run.js")("p2pdbg-rendezvous");
