// No two values that live together share a byte: checked on a toy model of three layers, with experts and attention.
// REQUIRES: quant-compile
// RUN: quant-compile %source/models/configs/toy_v3.json --stop-after=dispatched -o - | %python %S/Inputs/check_placement.py
