"use strict";

// The SDK was written for the native `grpc` package, whose servers bind at once; those of grpc-js, which package.json puts in its
// place, bind later and start by themselves. Must be loaded before the SDK.
const { Server } = require("grpc");

Server.prototype.bind = function (address, credentials) {
  this.bindAsync(address, credentials, (error) => {
    if (error) {
      console.error(`cannot listen on ${address}: ${error.message}`);
      process.exit(1);
    }
  });
  return Number(address.slice(address.lastIndexOf(":") + 1));
};

Server.prototype.start = function () {};
