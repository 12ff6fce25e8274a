// The examples of the .td files and of docs/ are run: ops round-trip, commands succeed.
// RUN: %python %S/doctest.py %source %t quant-opt
