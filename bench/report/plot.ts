import { LineChart, ScatterChart } from 'echarts/charts';
import { GridComponent, LegendComponent, TitleComponent } from 'echarts/components';
import * as echarts from 'echarts/core';
import { SVGRenderer } from 'echarts/renderers';
import { streamCeiling } from '../ceilings.js';
import type { KernelTimes, Results } from '../results.js';

echarts.use([LineChart, ScatterChart, GridComponent, LegendComponent, TitleComponent, SVGRenderer]);

const width = 900;
const height = 560;
const least = { intensity: 0.05, rate: 0.1 };

interface Group {
  readonly name: string;
  readonly kernels: readonly KernelTimes[];
}

/**
 * Draws kernels under the measured roofline as an SVG document, without a browser: operations per byte across, GFLOP/s
 * upwards, both logarithmic. Kernels without operations have no place in it.
 */
export function plotRoofline(results: Results): string {
  const { header, roofline } = results;
  const groups = kernelGroups(results);
  const { multiplyAdd } = roofline.ceilings;
  const stream = streamCeiling(roofline.ceilings);
  const points = groups.flatMap(({ kernels }) => kernels.map(point));
  const right = Math.max((4 * multiplyAdd) / stream, ...points.map(([intensity]) => 2 * intensity));
  const left = Math.min(1, ...points.map(([intensity]) => intensity));
  const from = Math.max(least.intensity, left / 2);
  const ridge = multiplyAdd / stream;
  const roof = [from, ridge, right].map((intensity) => [intensity, Math.min(multiplyAdd, intensity * stream) / 1e9]);
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width, height });
  const label = (value: number): string => String(Number(value.toPrecision(3)));
  const axis = {
    type: 'log',
    nameLocation: 'middle',
    axisLabel: { formatter: label, showMinLabel: false, showMaxLabel: false },
  } as const;
  chart.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    title: { text: `Kernels under the roofline of ${header.adapter}`, left: 'center' },
    legend: { top: 40 },
    grid: { left: 76, right: 30, top: 86, bottom: 54 },
    xAxis: { ...axis, name: 'operations per byte', nameGap: 30, min: from, max: right },
    yAxis: { ...axis, name: 'GFLOP/s', nameGap: 52, min: lowest(points), max: (2 * multiplyAdd) / 1e9 },
    series: [
      { type: 'line', name: 'roofline', data: roof, showSymbol: false, lineStyle: { width: 2 }, color: '#333333' },
      ...groups.map(({ name, kernels }) => ({
        type: 'scatter',
        name,
        symbolSize: 7,
        data: kernels.map(point),
      })),
    ],
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}

function point({ flops, bytes, time }: KernelTimes): [number, number] {
  return [Math.max(least.intensity, flops / Math.max(1, bytes)), flops / time.best / 1e9];
}

function lowest(points: readonly (readonly [number, number])[]): number {
  return Math.max(least.rate / 10, Math.min(least.rate, ...points.map(([, rate]) => rate)));
}

/** Kernels of the cases by kind of op, or those of the workloads where no cases were run. */
function kernelGroups({ kernels, workloads }: Results): Group[] {
  const named: (KernelTimes & { group: string })[] =
    kernels.length > 0
      ? kernels.map((kernel) => ({ ...kernel, group: kernel.op.split(/[ ,]/)[0] }))
      : workloads.flatMap((workload) => workload.kernels.map((kernel) => ({ ...kernel, group: workload.name })));
  const counted = named.filter(({ flops, bytes }) => flops > 0 && bytes > 0);
  const large = ['matmul', 'attention', 'convolution'];
  const nameOf = (group: string): string => (kernels.length === 0 || large.includes(group) ? group : 'others');
  const names = [...new Set(counted.map(({ group }) => nameOf(group)))];
  return names.map((name) => ({ name, kernels: counted.filter(({ group }) => nameOf(group) === name) }));
}
