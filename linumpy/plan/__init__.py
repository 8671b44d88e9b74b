"""Planning: parameters and samplesheet checked, and every task's share of the work decided, before any voxel is read."""
