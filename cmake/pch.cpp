// Empty: CMake needs a source to attach the shared precompiled header to (see cmake/Rings.cmake).
