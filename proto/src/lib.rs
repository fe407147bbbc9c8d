//! Generated code and the descriptor set of the protocol.
