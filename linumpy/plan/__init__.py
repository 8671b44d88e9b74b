"""Planning: parameters and samplesheet checked, and the work of every task decided, before any voxel is read."""
