import { LineChart } from 'echarts/charts';
import { GridComponent, LegendComponent, TitleComponent } from 'echarts/components';
import * as echarts from 'echarts/core';
import { SVGRenderer } from 'echarts/renderers';

echarts.use([LineChart, GridComponent, LegendComponent, TitleComponent, SVGRenderer]);

/** Figures of one training step. */
export type CurvePoint = Readonly<Record<string, number>> & { readonly step: number };

interface Series {
  /** Field of the points. */
  field: string;
  label: string;
  /** Drawn against the axis on the right. */
  right?: boolean;
}

export interface CurvePlot {
  title: string;
  left: { label: string; logarithmic?: boolean };
  right?: { label: string };
  series: readonly Series[];
}

const width = 900;
const height = 420;

/** Draws training curves over the step as an SVG document, without a browser. Fields no point has are left out. */
export function plotCurve(points: readonly CurvePoint[], plot: CurvePlot): string {
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width, height });
  const axis = (name: string, logarithmic: boolean, lines: boolean): object => ({
    type: logarithmic ? 'log' : 'value',
    name,
    nameLocation: 'middle',
    nameGap: 52,
    scale: true,
    splitLine: { show: lines },
    axisLabel: { formatter: (value: number) => String(Number(value.toPrecision(4))) },
  });
  chart.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    textStyle: { fontFamily: 'sans-serif' },
    title: { text: plot.title, left: 'center', textStyle: { fontSize: 16 } },
    legend: { top: 34, icon: 'roundRect', itemHeight: 4, itemGap: 32 },
    grid: { left: 76, right: 76, top: 70, bottom: 48 },
    xAxis: { type: 'value', name: 'optimiser step', nameLocation: 'middle', nameGap: 28, min: 0, max: 'dataMax' },
    yAxis: [axis(plot.left.label, plot.left.logarithmic ?? false, true), axis(plot.right?.label ?? '', false, false)],
    series: plot.series
      .filter(({ field }) => points.some((point) => Number.isFinite(point[field])))
      .map(({ field, label, right }) => ({
        type: 'line',
        name: label,
        showSymbol: false,
        yAxisIndex: right ? 1 : 0,
        lineStyle: { width: 1.5 },
        data: points.filter((point) => Number.isFinite(point[field])).map((point) => [point.step, point[field]]),
      })),
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}
