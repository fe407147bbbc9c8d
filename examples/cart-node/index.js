"use strict";

require("./grpc_bind");
const cart = require("./cart");

// HOST and PORT as the sidecar sets them for a command that it starts.
cart.start({
  bindAddress: process.env.HOST || "127.0.0.1",
  bindPort: Number(process.env.PORT || 8080),
});
